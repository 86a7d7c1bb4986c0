"""Ways to tell two splits apart: more seeds, or more held-out prompts, with the time that each takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from statistics import fmean

from scipy import stats

from search.config.cost import Split
from search.fit.forecast import Forecast
from search.fit.noise import Component, NoiseBudget, Trainings, held_out_part
from search.trials.record import TrialRecord

# A gap as large as predicted should show at this level, so often.
LEVEL, POWER = 0.95, 0.8
# So many further seeds of two splits are 100 trainings: twice what a whole study trains by default (24 trials
# of 2 seeds), to tell two splits apart that differ by little.
BEYOND_REASON = 50
MOST = 20  # times as many held-out prompts
FINER = 1.1  # from one number of held-out prompts to the next that is considered


@dataclass(frozen=True)
class Pace:
    """Time of one training with its judging (hours); `judging` is that part of it, None where not known."""

    each: float
    judging: float | None

    @classmethod
    def of(cls, records: Sequence[TrialRecord]) -> Pace:
        """The mean over the trainings of `records`; their telemetry says how long they judge."""
        results = [result for record in records for result in record.results]
        judged = [result.telemetry.get("seconds_evaluate") for result in results]
        known = [seconds for seconds in judged if seconds is not None]
        each = sum(record.seconds for record in records) / 3600 / max(len(results), 1)
        return cls(each, fmean(known) / 3600 if known and len(known) == len(judged) else None)

    def hours(self, trainings: float, times: float) -> tuple[float, float]:
        """Least and most of so many trainings, judged on `times` as many prompts: the same where it is known.

        Where it is not, judging takes none of the time, or all of it.
        """
        parts = (0.0, self.each) if self.judging is None else (self.judging, self.judging)
        least, most = (trainings * (self.each + part * (times - 1)) for part in parts)
        return least, most


@dataclass(frozen=True)
class Way:
    """One way to tell the two apart: `seeds` more of each, with `prompts` more held out.

    `hours` are the least and the most that it takes.
    """

    seeds: int
    prompts: int
    what: str
    hours: tuple[float, float]

    def sentence(self) -> str:
        """What to do and how long it takes."""
        least, most = self.hours
        if not most:
            return self.what
        if least == most:
            return f"{self.what}, about {most:.2g} hours"
        return f"{self.what}, {least:.2g} to {most:.2g} hours (how long judging takes is not known)"


@dataclass(frozen=True, kw_only=True)
class Gap:
    """The gap between two splits, and what keeps them from being told apart (all variances of reward).

    `size` is as predicted; `known` its variance over seeds, on the prompts held out now; `seed` that of one
    training, of which the share `judged` falls as 1 / held-out prompts. `floor` is what these prompts add to
    the gap however many the seeds. `seeds` are those that each of the two has (their harmonic mean).
    """

    pair: tuple[Split, Split]
    size: float
    known: float
    seed: float
    judged: float
    floor: float
    held_out: int
    seeds: float
    pace: Pace

    @property
    def wanted(self) -> float:
        """The variance that shows a gap of this size with the asked power."""
        return float((self.size / (stats.norm.ppf(LEVEL) + stats.norm.ppf(POWER))) ** 2)

    def seeds_wanted(self, prompts: int) -> int | None:
        """More seeds of each that tell the two apart on so many held-out prompts; None where none do.

        The information of their own trainings grows, that of other trials stays.
        """
        fewer = self.held_out / prompts
        room = self.wanted - fewer * self.floor
        if room <= 0:
            return None
        others = 1 / self.known - self.seeds / (2 * self.seed)
        each = 2 * self.seed * (1 - self.judged + self.judged * fewer)
        more = ceil(each * (1 / room - others) - self.seeds - 1e-9)
        return max(more, 0) if more <= BEYOND_REASON else None

    def ways(self) -> list[Way]:
        """More seeds, and the cheapest that more held-out prompts allow; cheapest first."""
        seeds = self.seeds_wanted(self.held_out)
        found = [self._more_seeds(max(seeds, 1))] if seeds is not None else []
        sizes, prompts = list[int](), self.held_out
        while (prompts := ceil(prompts * FINER)) <= MOST * self.held_out:
            sizes.append(prompts)
        wider = [self._more_prompts(n, m) for n in sizes if (m := self.seeds_wanted(n)) is not None]
        found += [min(wider, key=_most)] if wider else []
        return sorted(found, key=_most)

    def _more_seeds(self, seeds: int) -> Way:
        first, second = self.pair
        what = f"{seeds:,} more seed{'s' * (seeds > 1)} of {first} and of {second}"
        return Way(seeds, 0, what, self.pace.hours(2 * seeds, 1))

    def _more_prompts(self, prompts: int, seeds: int) -> Way:
        """Policies are not kept to be judged again, so that the two are trained anew."""
        first, second = self.pair
        each, times = ceil(self.seeds) + seeds, prompts / self.held_out
        plural, more = "s" * (each > 1), prompts - self.held_out
        what = (
            f"{more:,} more held-out prompts, {each:,} seed{plural} of {first} and of {second} trained anew"
        )
        if self.pace.judging:
            longer = 60 * self.pace.judging * (times - 1)
            what += f" (from then on every training is judged {longer:.2g} min longer)"
        return Way(seeds, more, what, self.pace.hours(2 * each, times))


def _most(way: Way) -> float:
    return way.hours[1]


def gap_of(
    pair: tuple[Split, Split],
    forecast: Forecast,
    seed_variance: float,
    noise: NoiseBudget,
    floor: Component | None,
    records: Sequence[TrialRecord],
) -> Gap | None:
    """The gap between the two splits of `pair`, which `forecast` predicts in this order.

    `noise` is the budget of `records`, `floor` what the prompts held out add. None where the two are not
    predicted to differ, or the budget is not known well enough to name a way.
    """
    size, known = abs(float(forecast.mean[0] - forecast.mean[1])), forecast.gap_variance(0, 1)
    if not noise.known or min(size, known, seed_variance) <= 0:
        return None
    own = trials_of(pair, records)
    counts = [len(record.results) for record in own]
    return Gap(
        pair=pair,
        size=size,
        known=known,
        seed=seed_variance,
        judged=noise.judged,
        floor=floor.variance if floor else 0.0,
        held_out=noise.held_out,
        seeds=2 / sum(1 / count for count in counts) if len(counts) == 2 else 0.0,
        pace=Pace.of(own or records),
    )


def held_out_between(
    pair: tuple[Split, Split], trainings: Trainings, records: Sequence[TrialRecord]
) -> Component | None:
    """What the gap between the two owes to the very prompts held out; None unless they share two seeds."""
    own = trials_of(pair, records)
    return held_out_part(trainings, [record.trial for record in own]) if len(own) == 2 else None


def trials_of(pair: tuple[Split, Split], records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trial of each of the two, where there is one, with random prompts and this study's rewards."""
    random = [record for record in records if record.selection == "random" and not record.group]
    found = (next((record for record in random if record.split == split), None) for split in pair)
    return [record for record in found if record is not None]
