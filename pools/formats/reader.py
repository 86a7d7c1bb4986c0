"""From a row to drafts: by its own columns, by the format that was asked for, or by the user's mapping."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pools.flaws import RowFlaw, shown
from pools.formats.columns import Columns, from_columns
from pools.formats.draft import Draft, Fields
from pools.formats.lists import RESPONSES, rating
from pools.formats.pairs import scores_beside
from pools.formats.prompt import PROMPT, filled, system_columns
from pools.formats.table import FORMATS, Format
from pools.formats.values import number_of, objects
from pools.types import Prompt

_SCORES = re.compile(r"scor|rating|reward|rank|vote|strength|helpful|correct|coheren|complex|verbos|winner|"
                     r"choice|prefer|safe|better|kto_tag|margin|quality", re.IGNORECASE)  # fmt: skip

_MEDIA = frozenset({"image", "images", "video", "videos", "audio", "audios"})

_candidates: dict[tuple[str, ...], list[tuple[str, Format]]] = {}


def format_of(row: Fields) -> str | None:
    """The format that a row's columns give away, null ones aside, or None."""
    columns = tuple([name for name, value in row.items() if value is not None])
    known = _candidates.get(columns)
    if known is None:
        there = set(columns)
        known = [(name, each) for name, each in FORMATS.items() if not any(map(there.isdisjoint, each.needs))]
        if len(_candidates) < 10_000:  # of rows with columns of their own each
            _candidates[columns] = known
    return next((name for name, each in known if _holds(each, row)), None)


def _holds(format: Format, row: Fields) -> bool:
    try:
        return format.when(row)
    except RowFlaw:
        return False


Refusal = Callable[[Prompt], str]


@dataclass(frozen=True)
class Reader:
    """Reads rows; it travels to the workers of a cluster.

    `format` is that of all rows, or `auto`; then `main`, the format of most of the first rows, is that of
    rows whose columns identify none. `weights` makes scores of attributes: a sum of their values. `refusal`
    says why a prompt cannot be used by the model that it is read for (empty: it can).
    """

    format: str = "auto"
    main: str = "pool"
    columns: Columns = field(default_factory=Columns)
    weights: Mapping[str, float] = field(default_factory=dict)
    refusal: Refusal | None = None

    def read(self, row: Fields) -> tuple[str, Sequence[Draft]]:
        """The name of the row's format, and its drafts; raises RowFlaw where it is not of that shape."""
        if self.weights:
            row = weighted(row, self.weights)
        if not _MEDIA.isdisjoint(row) and not self.columns.given:
            _refuse_media(row)
        if self.columns.given:
            return "columns", (from_columns(row, self.columns),)
        name = self._told(row) if self.format == "auto" else self.format
        try:
            draft = FORMATS[name].draft(row)
        except KeyError as error:
            raise RowFlaw("wrong_shape", f"no column {shown(error.args[0])}") from None
        return name, (draft,) if isinstance(draft, Draft) else draft

    def _told(self, row: Fields) -> str:
        name = format_of(row)
        if name is None and self.main != "pool" and any(map(row.keys().isdisjoint, FORMATS[self.main].needs)):
            columns = ", ".join(map(str, row))
            raise RowFlaw("wrong_shape", f"the columns are {columns}: not those of format {self.main}")
        bare = name == "prompts" and self.main == "pool"  # a held-out row need not have responses
        return self.main if name is None or bare else name


def _refuse_media(row: Fields) -> None:
    for name in sorted(_MEDIA & row.keys()):
        value = row[name]
        if any(value.values()) if isinstance(value, dict) else value:
            raise RowFlaw(
                "wrong_shape",
                f"what is in {name} belongs to the prompt, and only text can be used (or name pool.columns)",
            )


def weighted(row: Fields, weights: Mapping[str, float]) -> dict[str, Any]:
    """The row with a `score` for each response, the weighted sum of attributes; RowFlaw where one lacks."""
    if row.keys() >= weights.keys():
        return {**row, "score": _sum(row, weights)}
    name = next((name for name in RESPONSES if row.get(name) is not None), None)
    if name is None:
        raise RowFlaw(
            "missing_score", f"pool.score names {', '.join(weights)}: columns {', '.join(map(str, row))}"
        )
    items = [item and {**item, "score": _sum(item, weights)} for item in objects(row[name], name)]
    return {**row, name: items}


def _sum(item: Fields, weights: Mapping[str, float]) -> float | None:
    annotations = item.get("annotations")
    total = 0.0
    for name, weight in weights.items():
        value = number_of(item.get(name))
        if value is None and isinstance(annotations, dict):
            value = rating(annotations.get(name))
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        total += weight * value
    return total


def prompt_columns(rows: Sequence[Fields], name: str) -> list[str]:
    """The columns of these rows, all of one format, that the prompt is read from where it is a known name."""
    found: dict[str, None] = {}
    for row in rows:
        if FORMATS[name].asks:
            given = filled(row, PROMPT)
            found |= dict.fromkeys(system_columns(row))
            found |= dict.fromkeys(given[:2] if given[:2] == ["instruction", "input"] else given[:1])
    return list(found)


def unused_scores(
    rows: Sequence[Fields], name: str, columns: Columns, weights: Mapping[str, float]
) -> list[str]:
    """Columns of these rows that hold scores, by their names and values, and that the format does not use."""
    format = FORMATS.get(name)
    used = set(weights) | columns.names()
    if format is not None:
        used |= {each for group in format.needs for each in group} | format.uses | {"part", "domain", "meta"}
    found: dict[str, None] = {}
    for row in rows:
        beside = scores_beside(row) if name in ("preference", "named_pair") and not columns.given else {}
        own = used | beside.keys() | set(beside.values())
        found |= dict.fromkeys(
            each
            for each, value in row.items()
            if each not in own and _SCORES.search(each) and _is_score(value)
        )
    return list(found)


def _is_score(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and _is_score(value[0])
    if isinstance(value, dict):
        return any(_SCORES.search(str(each)) and _is_score(held) for each, held in value.items())
    number = number_of(value) if not isinstance(value, bool) else None
    return isinstance(number, int | float) and number == number
