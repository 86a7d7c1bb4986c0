"""Collecting a pool's prompts from rows: one entry a prompt, and an account of all that is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from pools.adapters import Adapter
from pools.check import Checked, check
from pools.errors import PoolError
from pools.flaws import Flaw, RowFlaw, shown
from pools.readers import Row
from pools.report import Findings
from pools.subset import order
from pools.types import Example, Prompt, Response

_HELD_OUT_SALT = 0x4E1D  # held-out prompts are not simply the first of the order that trials draw from


@dataclass(slots=True)
class _Entry:
    """A prompt, where it was first met, and its responses by text (white space at the ends aside)."""

    prompt: Prompt
    place: str
    responses: dict[str, list[Response]] = field(default_factory=dict)

    def example(self) -> Example:
        return Example(self.prompt, tuple(map(_averaged, self.responses.values())))


class Gathered:
    """The prompts met so far, by part and `Prompt.key`, and the findings."""

    def __init__(self) -> None:
        self.rows = 0
        self.merged_rows = 0
        self.findings = Findings()
        self._train: dict[str, _Entry] = {}
        self._held_out: dict[str, _Entry] = {}

    def add(self, row: Row, adapter: Adapter, part: str, place: str) -> None:
        """Take in one row, or count why not; a `part` given here overrules the row's own."""
        self.rows += 1
        try:
            checked = check(adapter.draft(_fields(row)))
        except RowFlaw as error:
            self.findings.add(error.flaw, place)
            return
        for flaw in checked.flaws:
            self.findings.add(flaw, place)
        held_out = (part or checked.part) == "held_out"
        self._merge(checked, self._held_out if held_out else self._train, adapter.pairwise, place)

    def _merge(self, checked: Checked, entries: dict[str, _Entry], pairwise: bool, place: str) -> None:
        entry = entries.setdefault(checked.prompt.key, _Entry(checked.prompt, place))
        if entry.place != place and not pairwise:
            self.findings.add(Flaw("duplicate_prompt", f"first at {entry.place}"), place)
            return
        self.merged_rows += entry.place != place
        self._add_responses(entry, checked.responses, pairwise, place)

    def _add_responses(
        self, entry: _Entry, responses: Sequence[Response], pairwise: bool, place: str
    ) -> None:
        """Add each response; a text met again counts as one more score in pairs, as a flaw elsewhere."""
        for response in responses:
            same = entry.responses.setdefault(response.text.strip(), [])
            if same and not pairwise:
                self.findings.add(Flaw("duplicate_response", shown(response.text)), place)
            else:
                same.append(response)

    def take_held_out(self, seed: int, count: int | None) -> tuple[tuple[Example, ...], int]:
        """The held-out examples, whose prompts leave the train part, and how many marked ones are left over.

        `count` of them in the seeded order, from those marked or, where none is, from the train part.
        """
        for key in [key for key in self._train if key in self._held_out]:
            self.findings.add(Flaw("shared_with_held_out"), self._train.pop(key).place)
        source = self._held_out or (self._train if count is not None else {})
        kept = _first_of(source, seed, count)
        left_over = len(self._held_out) - len(kept) if self._held_out else 0
        for key in kept:
            self._train.pop(key, None)
        return tuple(entry.example() for entry in kept.values()), left_over

    def train(self, min_responses: int) -> tuple[Example, ...]:
        """The train examples with enough responses; the others are counted."""
        enough = []
        for entry in self._train.values():
            if len(entry.responses) >= min_responses:
                enough.append(entry.example())
            else:
                detail = f"{len(entry.responses)}, asked {min_responses}"
                self.findings.add(Flaw("too_few_responses", detail), entry.place)
        return tuple(enough)


def _first_of(entries: Mapping[str, _Entry], seed: int, count: int | None) -> dict[str, _Entry]:
    """The first `count` entries of the seeded order, or all; PoolError where there are not that many."""
    if count is None:
        return dict(entries)
    if count > len(entries):
        raise PoolError(f"held_out_prompts is {count}, but there are {len(entries)} prompts to hold out")
    keys = list(entries)
    ranked = order([Example(entries[key].prompt, ()) for key in keys], seed ^ _HELD_OUT_SALT)
    return {keys[index]: entries[keys[index]] for index in ranked[:count]}


def _averaged(same: Sequence[Response]) -> Response:
    """One response for all that share a text, with the mean of their scores."""
    return same[0] if len(same) == 1 else replace(same[0], score=fmean(r.score for r in same))


def _fields(row: Row) -> Mapping[str, Any]:
    if row.flaw is not None:
        raise RowFlaw(*row.flaw)
    if not isinstance(row.value, Mapping):
        raise RowFlaw("not_an_object", f"it is a {type(row.value).__name__}")
    return row.value
