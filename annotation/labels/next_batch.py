"""What the file of `apportion plan --after ... --output` asks for: prompts, responses and raters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotation.labels.key import response_id
from annotation.labels.tasks import Asked
from base.errors import PoolError
from pools.response_choice import ResponseChoice, in_order
from pools.subset import shuffled, with_responses
from pools.types import Example, Message, Prompt


@dataclass(frozen=True)
class Row:
    """One prompt of a batch: `have` responses are labelled, `label` more are wanted.

    Where the file knows raters, `have_raters` judged each response and `to_raters` shall have; `labelled`
    holds the `response_id`s that they judged, `rated_by` who did, as far as the pool says.
    """

    prompt: Prompt
    have: int
    label: int
    have_raters: int = 0
    to_raters: int = 1
    labelled: frozenset[str] = frozenset()
    rated_by: frozenset[str] = frozenset()

    @property
    def for_further_raters(self) -> bool:
        """Whether it is the labelled responses that others shall judge."""
        return self.label == 0


def read_batch(path: Path) -> list[Row]:
    """The rows in labelling order; PoolError where the file is none that `apportion plan` wrote."""
    try:
        with path.open(encoding="utf-8") as lines:
            found = [_row(json.loads(line)) for line in lines if line.strip()]
    except OSError as error:
        raise PoolError(f"--batch {path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PoolError(f"--batch {path} is no batch of `apportion plan --output` ({error!r})") from None
    if not found:
        raise PoolError(f"--batch {path} asks for nothing")
    return found


def _row(row: dict[str, Any]) -> Row:
    content = row["prompt"]
    turns = content if isinstance(content, str) else tuple(Message(**turn) for turn in content)
    numbers = {name: int(row[name]) for name in ("have_raters", "to_raters") if name in row}
    return Row(
        Prompt(turns),
        int(row["have"]),
        int(row["label"]),
        labelled=frozenset(map(response_id, row.get("labelled", ()))),
        rated_by=frozenset(row.get("rated_by", ())),
        **numbers,
    )


def choose_batch(
    examples: Sequence[Example],
    rows: Sequence[Row],
    *,
    seed: int,
    response_choice: ResponseChoice = "random",
) -> list[Asked]:
    """What raters are asked, in the order of `rows`.

    Of a prompt's responses the labelled ones come first, then others in the order in which they are drawn;
    where the file does not name the labelled ones, that order alone counts. Further responses are shown
    together with the labelled ones, which they are compared with. PoolError where the pool lacks a prompt or
    a response.
    """
    known = {example.prompt.key: example for example in examples}
    none = {row.prompt.key: Example(row.prompt, ()) for row in rows}
    found = none | known
    return [_asked(found[row.prompt.key], row, seed, response_choice) for row in rows]


def _asked(example: Example, row: Row, seed: int, choice: ResponseChoice) -> Asked:
    ids = [response_id(response.text) for response in example.responses]
    count, lost = row.have + row.label, len(row.labelled - set(ids))
    if len(ids) < count or lost:
        raise PoolError(
            f"--batch asks for {count} responses to {row.prompt.text[:60]!r}; the pool has {len(ids)}"
            f"{f', and lacks {lost} that are labelled' if lost else ''}: give one that holds them all "
            "(`apportion pool sample` writes responses)"
        )
    drawn = in_order(example, choice, shuffled(example, seed))
    first = sorted(drawn, key=lambda index: ids[index] not in row.labelled)[:count]
    shown = with_responses(example, sorted(first, key=lambda index: -example.responses[index].score))
    if row.for_further_raters:
        return Asked(shown, row.to_raters - row.have_raters, row.rated_by)
    return Asked(shown, row.to_raters)


def raters_unsaid(rows: Sequence[Row]) -> bool:
    """Whether further raters are asked for where the file does not say who has judged already."""
    return any(row.for_further_raters and not row.rated_by for row in rows)
