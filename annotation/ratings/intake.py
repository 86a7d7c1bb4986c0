"""From what tools gave back to judgements that count: order shown undone, what is wrong counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import factorial, isfinite
from statistics import median
from typing import Literal

from scipy.stats import binom

from annotation.labels.key import Shown
from annotation.labels.rating import Rating
from annotation.labels.reading_time import too_fast, too_slow
from annotation.ratings.findings import Findings

# A rater who returns nine tenths in the order shown, where luck would do so once in a million such raters.
IDENTITY_SHARE, IDENTITY_LUCK = 0.9, 1e-6
HASTY_SHARE, HASTY_AT_LEAST = 0.5, 5  # share of the timed answers; answers


@dataclass(frozen=True)
class Judgement:
    """What one rater said of responses to one prompt, by `response_id`: ranks, or ratings as `measure` says.

    `as_shown` is whether they came back in the order shown, `luck` how likely that is by chance.
    """

    rater: str
    prompt: str
    values: Mapping[str, float]
    measure: Literal["rank", "rating"]
    seconds: float | None
    as_shown: bool
    luck: float
    fast: bool

    def worth(self, response: str) -> float:
        """The value with its sign such that more is better."""
        return -self.values[response] if self.measure == "rank" else self.values[response]


@dataclass(frozen=True)
class Habits:
    """How one rater worked."""

    judgements: int
    median_seconds: float | None
    as_shown: float  # share of the answers without ties


def take_in(
    ratings: Iterable[Rating],
    key: Mapping[str, Shown],
    pool: Mapping[str, frozenset[str]],
    findings: Findings,
    *,
    raters_by_key: bool = False,
) -> list[Judgement]:
    """The judgements in `ratings`, one for each rater and task, but for what is dropped and counted.

    `pool` has the `response_id`s of each `Prompt.key`. A rater is whom the tool names, or whom the key
    names where the tool names nobody or `raters_by_key` is set.
    """
    last: dict[tuple[str, str], Rating] = {}
    for rating in ratings:
        shown = key.get(rating.task)
        if shown is None:
            findings.add("unknown_task", f"{rating.task} ({rating.location})")
            continue
        rater = shown.rater if raters_by_key or rating.rater is None else rating.rater
        _settle(last, (rater, rating.task), rating, findings)
    answered = {task for _, task in last}
    for task, shown in key.items():
        if task not in answered:
            findings.add("unanswered", f"{task} ({shown.rater})")
    found = (_judgement(rater, each, key[task], pool, findings) for (rater, task), each in last.items())
    return [each for each in found if each is not None]


def _settle(
    last: dict[tuple[str, str], Rating], own: tuple[str, str], rating: Rating, findings: Findings
) -> None:
    """Keep the later of two answers by one rater to one task; of equal times, that which is read later."""
    before = last.get(own)
    if before is not None:
        same = dict(before.values) == dict(rating.values)
        findings.add("repeated" if same else "revised", f"{own[0]}, {own[1]} ({rating.location})")
        if rating.at < before.at:
            return
    last[own] = rating


def _judgement(
    rater: str, rating: Rating, shown: Shown, pool: Mapping[str, frozenset[str]], findings: Findings
) -> Judgement | None:
    where = f"{rater}, {rating.task} ({rating.location})"
    if not rating.values:
        findings.add("cannot_judge", where)
        return None
    if not all(map(isfinite, rating.values.values())):
        findings.add("bad_value", where)
        return None
    if not all(0 <= index < len(shown.responses) for index in rating.values):
        findings.add("unknown_response", where)
        return None
    if not set(shown.responses) <= pool.get(shown.prompt, frozenset()):
        findings.add("unknown_prompt", where)
        return None
    if len(rating.values) < len(shown.responses):
        findings.add("incomplete", where)
    fast = rating.seconds is not None and too_fast(shown.words, rating.seconds)
    if rating.seconds is not None and too_slow(shown.words, rating.seconds):
        findings.add("too_slow", f"{where}, {rating.seconds:.0f} s for {shown.words:,} words")
    values = {shown.responses[index]: value for index, value in sorted(rating.values.items())}
    ranks = list(values.values()) if rating.measure == "rank" else [-value for value in values.values()]
    distinct = len(set(ranks)) == len(ranks)
    return Judgement(
        rater,
        shown.prompt,
        values,
        rating.measure,
        rating.seconds,
        as_shown=distinct and ranks == sorted(ranks),
        luck=1 / factorial(len(ranks)) if distinct and len(ranks) > 1 else 0.0,
        fast=fast,
    )


def drop_careless(judgements: Sequence[Judgement], findings: Findings) -> list[Judgement]:
    """Without hasty raters, raters who return the order shown, and single hasty answers of others."""
    dropped: set[str] = set()
    for rater, own in of_each_rater(judgements).items():
        timed = [each for each in own if each.seconds is not None]
        fast = sum(each.fast for each in timed)
        if len(timed) >= HASTY_AT_LEAST and fast > HASTY_SHARE * len(timed):
            what = f"{rater} ({fast:,} of {len(timed):,})"
            dropped |= {rater} if findings.add("hasty_rater", what) else set()
        if said := _returns_the_order_shown(own):
            dropped |= {rater} if findings.add("order_shown", f"{rater} ({said})") else set()
    kept = [each for each in judgements if each.rater not in dropped]
    return [
        each
        for each in kept
        if not (each.fast and findings.add("too_fast", f"{each.rater} ({each.seconds:.1f} s)"))
    ]


def _returns_the_order_shown(own: Sequence[Judgement]) -> str:
    """How many answers came back in the order shown, where that is no luck; else nothing.

    The chance of so many is at most that of as many throws of the likeliest single one (k = 2: a half).
    """
    strict = [each for each in own if each.luck]
    shown = sum(each.as_shown for each in strict)
    if not strict or shown < IDENTITY_SHARE * len(strict):
        return ""
    luck = float(binom.sf(shown - 1, len(strict), max(each.luck for each in strict)))
    return f"{shown:,} of {len(strict):,}" if luck < IDENTITY_LUCK else ""


def of_each_rater(judgements: Iterable[Judgement]) -> dict[str, list[Judgement]]:
    """The judgements of each rater, by name."""
    found: dict[str, list[Judgement]] = defaultdict(list)
    for each in judgements:
        found[each.rater].append(each)
    return dict(sorted(found.items()))


def habits_of(own: Sequence[Judgement]) -> Habits:
    """How a rater with these judgements worked."""
    seconds = [each.seconds for each in own if each.seconds is not None]
    strict = Counter(each.as_shown for each in own if each.luck)
    share = strict[True] / max(sum(strict.values()), 1)
    return Habits(len(own), median(seconds) if seconds else None, share)
