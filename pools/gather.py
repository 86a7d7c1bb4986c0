"""Collecting a pool's prompts from rows: one entry a prompt, and an account of all that is left out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from statistics import fmean
from typing import Any, NamedTuple

from base.errors import PoolError
from pools.check import check
from pools.comparisons import Comparison, decided, strengths
from pools.flaws import REASONS, Flaw, RowFlaw, shown
from pools.formats.draft import Rows
from pools.formats.reader import Reader
from pools.readers import Placed, PoolSource, placed
from pools.report import Findings
from pools.subset import order
from pools.text_files import Row
from pools.types import Compared, Example, Examples, MemoryExamples, Prompt, Response, guard_of

Progress = Callable[[int, float], None]
"""Called now and then with the rows read, and the share of their source that is done."""

_ROWS_BETWEEN_CALLS = 500
HELD_OUT_SALT = 0x4E1D  # held-out prompts are not simply the first of the order that trials draw from


class ValidRow(NamedTuple):
    """One good row: where it lies (see `pools.readers.Placed`), and what it says.

    `rows` is how several of one prompt add up (see `pools.formats.draft.Rows`).
    """

    at: int
    location: str
    held_out: bool
    rows: Rows
    prompt: Prompt
    responses: tuple[Response, ...]
    compared: Compared | None = None


@dataclass(slots=True)
class Entry:
    """A prompt, where it was first met, and its responses by text (white space at the ends aside).

    `pairs` holds the comparisons of its rows, where those are pairs: two texts, and their scores.
    """

    prompt: Prompt
    at: int
    location: str
    rows: Rows
    responses: dict[str, list[Response]] = field(default_factory=dict)
    pairs: list[tuple[str, float, str, float]] | None = None

    def example(self) -> Example:
        """The responses with mean scores or, where several comparisons have to agree, with strengths."""
        if self.pairs is None or len(self.pairs) < 2:
            return Example(self.prompt, tuple(map(_averaged, self.responses.values())))
        numbers = {text: number for number, text in enumerate(self.responses)}
        games = [Comparison(numbers[a], numbers[b], _share(one, two)) for a, one, b, two in self.pairs]
        scores = strengths(len(numbers), games)
        scored = (replace(same[0], score=s) for same, s in zip(self.responses.values(), scores, strict=True))
        return Example(self.prompt, tuple(scored), decided(scores, games))


class PoolBuilder(ABC):
    """Whoever takes in rows and gives back the two parts of a pool, in this order.

    `findings` grow at every step; `rows` and `merged_rows` count.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.merged_rows = 0
        self.findings = Findings()
        self.numbers = count()
        """For files, in the order in which they are read."""

    def read(self, source: PoolSource, reader: Reader, part: str, progress: Progress | None = None) -> None:
        """Take in all rows, or count why not; a `part` given here overrules the rows' own."""
        for file in source.sources():
            for each in placed(file, next(self.numbers)):
                self.rows += 1
                for good in valid_rows(each, reader, part, self.findings):
                    self.merge(good)
                if progress is not None and self.rows % _ROWS_BETWEEN_CALLS == 0:
                    progress(self.rows, source.fraction())

    @abstractmethod
    def merge(self, good: ValidRow) -> None:
        """Take in a row that was checked; rows come in the order in which they were read."""

    @abstractmethod
    def take_held_out(self, seed: int, count: int | None) -> tuple[tuple[Example, ...], int]:
        """The held-out examples, whose prompts leave the train part, and how many marked ones are left over.

        `count` of them in the seeded order, from those marked or, where none is, from the train part.
        """

    @abstractmethod
    def train(self, min_responses: int) -> Examples:
        """The train examples with enough responses; the others are counted."""


class Gathered(PoolBuilder):
    """The prompts met so far, by part and `Prompt.key`, in memory, and the findings."""

    def __init__(self) -> None:
        super().__init__()
        self._train: dict[str, Entry] = {}
        self._held_out: dict[str, Entry] = {}

    def merge(self, good: ValidRow) -> None:
        """See `PoolBuilder`."""
        entries = self._held_out if good.held_out else self._train
        entry = entries.get(good.prompt.key)
        if entry is None:
            entry = entries[good.prompt.key] = Entry(good.prompt, good.at, good.location, good.rows)
        elif entry.at != good.at:
            if (reason := _at_odds(entry, good)) is not None:
                self.findings.add(Flaw(reason, f"first at {entry.location}"), good.location, good.at)
                return
            entry.rows = good.rows
            self.merged_rows += 1
        self._add_responses(entry, good)

    def _add_responses(self, entry: Entry, good: ValidRow) -> None:
        texts = [response.text.strip() for response in good.responses]
        if good.rows == "pairs" and len(texts) == 2:
            one, two = good.responses
            entry.pairs = entry.pairs or []
            entry.pairs.append((texts[0], one.score, texts[1], two.score))
        for text, response in zip(texts, good.responses, strict=True):
            same = entry.responses.setdefault(text, [])
            if same and good.rows == "alone":
                self.findings.add(Flaw("duplicate_response", shown(response.text)), good.location, good.at)
            else:
                same.append(response)

    def settled(self) -> tuple[Iterable[Entry], Iterable[Entry]]:
        """The entries of both parts as first met, train first, without train prompts that are held out."""
        self._drop_shared(set(map(guard_of, self._held_out)))
        return self._train.values(), self._held_out.values()

    def _drop_shared(self, guards: set[str]) -> None:
        for key in [key for key in self._train if guard_of(key) in guards] if guards else []:
            entry = self._train.pop(key)
            self.findings.add(Flaw("shared_with_held_out"), entry.location, entry.at)

    def take_held_out(self, seed: int, count: int | None) -> tuple[tuple[Example, ...], int]:
        """See `PoolBuilder`."""
        self.settled()
        source = self._held_out or (self._train if count is not None else {})
        if count is not None and count > len(source):
            raise too_few_to_hold_out(count, len(source), self.findings)
        kept = _first_of(source, seed, count)
        left_over = len(self._held_out) - len(kept) if self._held_out else 0
        for key in kept:
            self._train.pop(key, None)
        self._drop_shared(set(map(guard_of, kept)))
        return tuple(entry.example() for entry in kept.values()), left_over

    def train(self, min_responses: int) -> MemoryExamples:
        """See `PoolBuilder`."""
        enough = []
        for entry in self._train.values():
            if len(entry.responses) >= min_responses:
                enough.append(entry.example())
            else:
                self.findings.add(too_few(len(entry.responses), min_responses), entry.location, entry.at)
        return MemoryExamples(enough)


def valid_rows(placed: Placed, reader: Reader, part: str, findings: Findings) -> list[ValidRow]:
    """What the row says, checked: one prompt, or several of a tree. What is wrong goes to `findings`."""
    at, location, row = placed
    good = []
    try:
        format, drafts = reader.read(_fields(row))
        findings.formats[format] += 1
        for draft in drafts:
            checked = check(draft)
            if reader.refusal is not None and (why := reader.refusal(checked.prompt)):
                raise RowFlaw("template_refuses", why)
            for flaw in checked.flaws:
                findings.add(flaw, location, at)
            held_out = (part or checked.part) == "held_out"
            good.append(ValidRow(at, location, held_out, draft.rows, checked.prompt, checked.responses))
    except RowFlaw as error:
        findings.add(error.flaw, location, at)
    return good


def _at_odds(entry: Entry, good: ValidRow) -> str | None:
    """The reason for which a later row of a prompt cannot be added; None where it can."""
    if good.rows == "alone":
        return "duplicate_prompt"
    return "mixed_labels" if entry.rows != good.rows and entry.responses else None


def _share(one: float, two: float) -> float:
    """How much of a comparison the first of two scores wins."""
    return 0.5 if one == two else float(one > two)


def too_few(found: int, asked: int) -> Flaw:
    """The flaw of a train prompt with fewer good responses than asked."""
    return Flaw("too_few_responses", f"{found}, asked {asked}")


def too_few_to_hold_out(asked: int, found: int, findings: Findings) -> PoolError:
    """The error where more prompts are to be held out than there are, with what was dropped."""
    why = f"held_out_prompts is {asked}, but there are {found} prompts to hold out"
    for reason, dropped in findings.counts.items():
        first = next(finding for finding in findings.first if finding.reason == reason)
        why += f"; {dropped:,} x {reason}: {REASONS[reason]} ({first})"
    return PoolError(why)


def _first_of(entries: Mapping[str, Entry], seed: int, count: int | None) -> dict[str, Entry]:
    """The first `count` entries of the seeded order, or all."""
    if count is None:
        return dict(entries)
    keys = list(entries)
    ranked = order([Example(entries[key].prompt, ()) for key in keys], seed ^ HELD_OUT_SALT)
    return {keys[index]: entries[keys[index]] for index in ranked[:count]}


def _averaged(same: Sequence[Response]) -> Response:
    """One response for all that share a text, with the mean of their scores."""
    return same[0] if len(same) == 1 else replace(same[0], score=fmean(r.score for r in same))


def _fields(row: Row) -> Mapping[str, Any]:
    if row.flaw is not None:
        raise RowFlaw(*row.flaw)
    if not isinstance(row.value, dict):
        raise RowFlaw("not_an_object", f"it is a {type(row.value).__name__}")
    return row.value
