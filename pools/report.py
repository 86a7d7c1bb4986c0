"""What loading found: counts by reason with first locations, and the shape of what was kept."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, astuple, dataclass
from math import fsum, inf
from typing import Any

from pools.flaws import LATE, NOTES, REASONS, Flaw
from pools.types import Example

_LOCATIONS_KEPT = 5
_DOMAINS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Finding:
    """One flaw and where it lies, as `file:line`."""

    reason: str
    location: str
    detail: str

    def __str__(self) -> str:
        return f"{self.location}: {self.detail}" if self.detail else self.location


class Findings:
    """All flaws and notes met while loading: a count for each reason, and its first few locations.

    `formats` counts rows by the format that they were read in.
    """

    def __init__(self) -> None:
        self.formats: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._first: dict[str, list[tuple[int, Finding]]] = {}

    def add(self, flaw: Flaw, location: str, at: int) -> None:
        """Count one flaw at `file:line`, the `at`-th row that was read."""
        self._counts[flaw.reason] += 1
        kept = self._first.setdefault(flaw.reason, [])
        if len(kept) < _LOCATIONS_KEPT:
            kept.append((at, Finding(flaw.reason, location, flaw.detail)))

    def include(self, others: Findings) -> None:
        """Count those of `others` too, as if the rows of both had been read in their order."""
        self._counts.update(others._counts)
        self.formats.update(others.formats)
        for reason, kept in others._first.items():
            both = [*self._first.get(reason, []), *kept]
            self._first[reason] = sorted(both, key=lambda found: found[0])[:_LOCATIONS_KEPT]
        by_row = sorted(self._first.items(), key=lambda item: (LATE.get(item[0], 0), item[1][0][0]))
        self._first = dict(by_row)

    def to_json(self) -> str:
        """What `from_json` makes these findings of."""
        first = {
            reason: [(at, *astuple(found)) for at, found in kept] for reason, kept in self._first.items()
        }
        return json.dumps([self._counts, first, self.formats])

    @classmethod
    def from_json(cls, text: str) -> Findings:
        """The findings that `to_json` made a text of."""
        found, (counts, first, formats) = cls(), json.loads(text)
        found._counts.update(counts)
        found.formats.update(formats)
        found._first = {reason: [(at, Finding(*one)) for at, *one in kept] for reason, kept in first.items()}
        return found

    @property
    def counts(self) -> dict[str, int]:
        """How many of each reason, the reason that was met first at the beginning."""
        return {reason: self._counts[reason] for reason in self._first if reason in REASONS}

    @property
    def notes(self) -> dict[str, int]:
        """How many rows each note is on, in the order of `pools.flaws.NOTES`."""
        return {note: self._counts[note] for note in NOTES if note in self._first}

    @property
    def first(self) -> tuple[Finding, ...]:
        """The first few of each reason."""
        return tuple(finding for kept in self._first.values() for _, finding in kept)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Size and spread of one part of a pool; `words_mean` is the mean length of its prompts in words.

    `tied` counts prompts of several responses whose scores are all equal, `partly_compared` those of whose
    responses only some pairs were compared.
    """

    prompts: int
    responses: int
    responses_per_prompt: dict[int, int]
    score_min: float | None
    score_mean: float | None
    score_max: float | None
    words_mean: float | None
    domains: dict[str, int]
    tied: int = 0
    partly_compared: int = 0

    @classmethod
    def of(cls, examples: Iterable[Example]) -> Shape:
        """Measure a part, in one pass that holds one example at a time."""
        tally = _Tally()
        score_sum = fsum(tally.scores(examples))
        count = tally.responses.total()
        responses = sum(each * prompts for each, prompts in tally.responses.items())
        return cls(
            prompts=count,
            responses=responses,
            responses_per_prompt=dict(sorted(tally.responses.items())),
            score_min=tally.lowest if responses else None,
            score_mean=score_sum / responses if responses else None,
            score_max=tally.highest if responses else None,
            words_mean=tally.words / count if count else None,
            domains=dict(tally.domains.most_common()),
            tied=tally.tied,
            partly_compared=tally.partly_compared,
        )

    def lines(self, part: str) -> Iterator[str]:
        """The part in two to four readable lines."""
        yield f"{part}: {self.prompts:,} prompts, {self.responses:,} responses"
        if self.words_mean is not None:
            spread = ", ".join(f"{n:,} with {k}" for k, n in self.responses_per_prompt.items())
            yield f"  prompts by responses: {spread}; mean prompt length {self.words_mean:.1f} words"
        if self.score_min is not None:
            yield f"  score: {self.score_min:.4g} to {self.score_max:.4g}, mean {self.score_mean:.4g}"
        if self.tied:
            yield f"  {_nothing_ranks(self.tied, self.prompts)}"
        if self.partly_compared:
            yield (
                f"  of {self.partly_compared:,} prompts only some pairs were compared: scores are "
                "Bradley-Terry strengths, and other pairs are not trained on"
            )
        if any(self.domains):
            yield f"  domains: {_domains(self.domains)}"


class _Tally:
    """What `Shape.of` counts on its way through the scores."""

    def __init__(self) -> None:
        self.responses: Counter[int] = Counter()
        self.domains: Counter[str] = Counter()
        self.words = self.tied = self.partly_compared = 0
        self.lowest, self.highest = inf, -inf

    def scores(self, examples: Iterable[Example]) -> Iterator[float]:
        for example in examples:
            self.responses[len(example.responses)] += 1
            self.domains[example.prompt.domain] += 1
            self.words += len(example.prompt.text.split())
            self.partly_compared += example.compared is not None
            if scores := [response.score for response in example.responses]:
                self.tied += len(scores) > 1 and scores.count(scores[0]) == len(scores)
                self.lowest = min(self.lowest, *scores)
                self.highest = max(self.highest, *scores)
                yield from scores


@dataclass(frozen=True, kw_only=True)
class PoolReport:
    """What loading found.

    `counts` is by reason (see `pools.flaws`), dropped rows and responses alike, and `notes` of rows that are
    used. `formats` counts rows by format, `prompt_columns` are those that were taken for the prompt, and
    `unused_scores` those that hold scores and were not used.
    """

    path: str
    name: str
    description: str
    format: str
    formats: dict[str, int]
    prompt_columns: tuple[str, ...]
    unused_scores: tuple[str, ...]
    shape: str
    detected: bool
    rows: int
    merged_rows: int
    held_out_left_aside: int
    on_bad_row: str
    counts: dict[str, int]
    notes: dict[str, int]
    first: tuple[Finding, ...]
    train: Shape
    held_out: Shape

    @property
    def prompts_alone(self) -> bool:
        """Whether the rows are prompts and nothing else."""
        bare = self.counts.keys() == {"too_few_responses"} and not self.train.prompts
        return self.format == "prompts" and not self.shape and bare and not self.held_out.responses

    @property
    def error(self) -> str:
        """Why a study may not use the pool; empty where it may."""
        found = sum(self.counts.values())
        if self.prompts_alone:
            made = f"apportion pool make {shlex.quote(self.path)} --output pool.jsonl"
            return (
                f"{self.path}: {self.rows:,} prompts without responses; {made} has a model respond and "
                "a judge score (--judge.reward.function or --judge.kind says which)"
            )
        if found and self.on_bad_row == "refuse":
            why = f"{found:,} flaws, and on_bad_row is refuse"
        elif not self.train.prompts:
            why = f"no train prompt is left of {self.rows:,} rows"
            if self.format == "prompts":
                why += f", which hold no responses that a format knows: {self.shape}"
        else:
            return ""
        return "\n".join([f"{self.path}: {why}", *self.finding_lines()])

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {**asdict(self), "usable": not self.error}

    def lines(self) -> list[str]:
        """The report for reading."""
        chosen = "detected from the first rows" if self.detected else "as asked"
        lines = [f"{self.path}: {self.rows:,} rows, format {self.format} ({chosen}), name {self.name}"]
        lines += [self.description] if self.description else []
        if len(self.formats) > 1:
            shown = ", ".join(f"{count:,} in format {name}" for name, count in self.formats.items())
            lines.append(f"rows of several formats, each read in its own: {shown}")
        if self.prompt_columns:
            lines.append(f"prompt: {', '.join(self.prompt_columns)}")
        if self.unused_scores:
            lines.append(f"not used: {', '.join(self.unused_scores)} (pool.score or pool.columns would)")
        if self.prompts_alone:
            return lines
        lines += self.train.lines("train")
        lines += self.held_out.lines("held out")
        if self.merged_rows:
            lines.append(f"{self.merged_rows:,} rows were merged into an earlier row of the same prompt")
        if self.held_out_left_aside:
            lines.append(f"{self.held_out_left_aside:,} more prompts marked held out were left aside")
        lines += [*self.note_lines(), *self.finding_lines()]
        return lines

    def note_lines(self) -> list[str]:
        """One line for each note with its count, and its first location."""
        first = {finding.reason: finding for finding in reversed(self.first)}
        return [
            f"note: {count:,} x {note}: {NOTES[note]} ({first[note]})" for note, count in self.notes.items()
        ]

    def finding_lines(self) -> list[str]:
        """One line for each reason with its count, then its first locations."""
        if not self.counts:
            return ["nothing was dropped"]
        lines = []
        for reason, count in self.counts.items():
            lines.append(f"{count:,} x {reason}: {REASONS[reason]}")
            lines += [f"    {finding}" for finding in self.first if finding.reason == reason]
        return lines


def _nothing_ranks(tied: int, prompts: int) -> str:
    if tied == prompts:
        return "nothing ranks: in every prompt all responses have the same score"
    return f"in {tied:,} prompts all responses have the same score: preferences learn nothing from them"


def _domains(domains: dict[str, int]) -> str:
    shown = [f"{name or '(none)'} {count:,}" for name, count in list(domains.items())[:_DOMAINS_SHOWN]]
    more = len(domains) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")
