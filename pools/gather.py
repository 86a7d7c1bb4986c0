"""Collecting a pool's prompts from rows: one entry a prompt, and an account of all that is left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any, Protocol

from base.errors import PoolError
from pools.adapters import Adapter
from pools.check import check
from pools.flaws import Flaw, RowFlaw, shown
from pools.readers import Placed, Row
from pools.report import Findings
from pools.subset import order
from pools.types import Example, Prompt, Response

HELD_OUT_SALT = 0x4E1D  # held-out prompts are not simply the first of the order that trials draw from


@dataclass(frozen=True, slots=True)
class ValidRow:
    """One good row: where it lies (see `pools.readers.Placed`), and what it says.

    `pairwise` rows of one prompt add up.
    """

    at: int
    place: str
    held_out: bool
    pairwise: bool
    prompt: Prompt
    responses: tuple[Response, ...]


@dataclass(slots=True)
class Entry:
    """A prompt, where it was first met, and its responses by text (white space at the ends aside)."""

    prompt: Prompt
    at: int
    place: str
    responses: dict[str, list[Response]] = field(default_factory=dict)

    def example(self) -> Example:
        return Example(self.prompt, tuple(map(_averaged, self.responses.values())))


class PoolBuilder(Protocol):
    """Whoever takes in rows and gives back the two parts of a pool, in this order.

    `findings` grow at every step; `rows` and `merged_rows` count.
    """

    rows: int
    merged_rows: int
    findings: Findings

    def add(self, placed: Placed, adapter: Adapter, part: str) -> None:
        """Take in one row, or count why not; a `part` given here overrules the row's own."""
        ...

    def take_held_out(self, seed: int, count: int | None) -> tuple[tuple[Example, ...], int]:
        """The held-out examples, whose prompts leave the train part, and how many marked ones are left over.

        `count` of them in the seeded order, from those marked or, where none is, from the train part.
        """
        ...

    def train(self, min_responses: int) -> Sequence[Example]:
        """The train examples with enough responses; the others are counted."""
        ...


class Gathered:
    """The prompts met so far, by part and `Prompt.key`, in memory, and the findings."""

    def __init__(self) -> None:
        self.rows = 0
        self.merged_rows = 0
        self.findings = Findings()
        self._train: dict[str, Entry] = {}
        self._held_out: dict[str, Entry] = {}

    def add(self, placed: Placed, adapter: Adapter, part: str) -> None:
        """See `PoolBuilder`."""
        self.rows += 1
        if (good := sighting(placed, adapter, part, self.findings)) is not None:
            self.merge(good)

    def merge(self, good: ValidRow) -> None:
        """Take in a row that was checked; rows come in the order in which they were read."""
        entries = self._held_out if good.held_out else self._train
        entry = entries.setdefault(good.prompt.key, Entry(good.prompt, good.at, good.place))
        if entry.at != good.at and not good.pairwise:
            self.findings.add(Flaw("duplicate_prompt", f"first at {entry.place}"), good.place, good.at)
            return
        self.merged_rows += entry.at != good.at
        for response in good.responses:
            same = entry.responses.setdefault(response.text.strip(), [])
            if same and not good.pairwise:
                self.findings.add(Flaw("duplicate_response", shown(response.text)), good.place, good.at)
            else:
                same.append(response)

    def settled(self) -> tuple[Iterable[Entry], Iterable[Entry]]:
        """The entries of both parts as first met, train first, without train prompts that are held out."""
        for key in [key for key in self._train if key in self._held_out]:
            entry = self._train.pop(key)
            self.findings.add(Flaw("shared_with_held_out"), entry.place, entry.at)
        return self._train.values(), self._held_out.values()

    def take_held_out(self, seed: int, count: int | None) -> tuple[tuple[Example, ...], int]:
        """See `PoolBuilder`."""
        self.settled()
        source = self._held_out or (self._train if count is not None else {})
        kept = _first_of(source, seed, count)
        left_over = len(self._held_out) - len(kept) if self._held_out else 0
        for key in kept:
            self._train.pop(key, None)
        return tuple(entry.example() for entry in kept.values()), left_over

    def train(self, min_responses: int) -> tuple[Example, ...]:
        """See `PoolBuilder`."""
        enough = []
        for entry in self._train.values():
            if len(entry.responses) >= min_responses:
                enough.append(entry.example())
            else:
                self.findings.add(too_few(len(entry.responses), min_responses), entry.place, entry.at)
        return tuple(enough)


def sighting(placed: Placed, adapter: Adapter, part: str, findings: Findings) -> ValidRow | None:
    """The row, checked; None where it cannot be used. What is wrong with it goes to `findings`."""
    at, place, row = placed
    try:
        checked = check(adapter.draft(_fields(row)))
    except RowFlaw as error:
        findings.add(error.flaw, place, at)
        return None
    for flaw in checked.flaws:
        findings.add(flaw, place, at)
    held_out = (part or checked.part) == "held_out"
    return ValidRow(at, place, held_out, adapter.pairwise, checked.prompt, checked.responses)


def too_few(found: int, asked: int) -> Flaw:
    """The flaw of a train prompt with fewer good responses than asked."""
    return Flaw("too_few_responses", f"{found}, asked {asked}")


def too_few_to_hold_out(asked: int, found: int) -> PoolError:
    """The error where more prompts are to be held out than there are."""
    return PoolError(f"held_out_prompts is {asked}, but there are {found} prompts to hold out")


def _first_of(entries: Mapping[str, Entry], seed: int, count: int | None) -> dict[str, Entry]:
    """The first `count` entries of the seeded order, or all; PoolError where there are not that many."""
    if count is None:
        return dict(entries)
    if count > len(entries):
        raise too_few_to_hold_out(count, len(entries))
    keys = list(entries)
    ranked = order([Example(entries[key].prompt, ()) for key in keys], seed ^ HELD_OUT_SALT)
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
