"""Do longer trainings, or averaged weights, deviate less? What trials of other lengths say, or would take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from search.config.cost import Split
from search.config.hyperparameters import Scalar
from search.config.scale import RewardScale
from search.fit.noise import FEWEST_DF
from search.fit.ways import Pace
from search.trials.record import TrialRecord

# Trainer fields that make a training longer, or average its end.
LENGTHS = ("trainer.steps", "trainer.epochs", "trainer.tokens", "trainer.average_tail")
# The fewest seeds of each of two splits that leave FEWEST_DF degrees of freedom.
SEEDS = FEWEST_DF // 2 + 1


@dataclass(frozen=True)
class Scatter:
    """How far seeds deviate about their trials' means: standard deviation and 95% interval (reward)."""

    deviation: float
    interval_95: tuple[float, float]

    @classmethod
    def of(cls, records: Sequence[TrialRecord]) -> Scatter | None:
        """Pooled over `records`; None with fewer than FEWEST_DF degrees of freedom."""
        df = sum(len(record.rewards) - 1 for record in records)
        if df < FEWEST_DF:
            return None
        square = sum(float(np.var(record.rewards)) * len(record.rewards) for record in records)
        low, high = (float(np.sqrt(square / stats.chi2.ppf(q, df))) for q in (0.975, 0.025))
        return cls(float(np.sqrt(square / df)), (low, high))


def length_lines(
    own: Sequence[TrialRecord],
    others: Sequence[TrialRecord],
    pair: tuple[Split, Split],
    scale: RewardScale,
) -> list[str]:
    """What is known of the noise of trainings of another length, or the run that would tell.

    `others` are trials under other hyperparameters; those count that differ from `own` in LENGTHS alone.
    """
    here, found = Scatter.of(own), list[str]()
    for name, records in _by_length(own, others).items():
        there = Scatter.of(records)
        if here and there:
            found.append(f"Seeds deviate by {_text(there, scale)} at {name}, by {_text(here, scale)} here.")
    return found or [_run(own, pair)]


def _by_length(own: Sequence[TrialRecord], others: Sequence[TrialRecord]) -> dict[str, list[TrialRecord]]:
    """The other trials that differ in length alone, by what it is."""
    usual = {frozenset(_parted(record)[0].items()) for record in own}
    found: dict[str, list[TrialRecord]] = {}
    for record in others:
        rest, length = _parted(record)
        if length and frozenset(rest.items()) in usual and record not in own:
            name = ", ".join(f"{field} {value}" for field, value in length.items())
            found.setdefault(name, []).append(record)
    return found


def _parted(record: TrialRecord) -> tuple[dict[str, Scalar], dict[str, Scalar]]:
    """A trial's hyperparameters that say nothing of its length, and those that do."""
    values = record.hyperparameters
    length = {name: value for name, value in values.items() if name in LENGTHS}
    return {name: value for name, value in values.items() if name not in LENGTHS}, length


def _text(scatter: Scatter, scale: RewardScale) -> str:
    low, high = (scale.text(bound, more=1) for bound in scatter.interval_95)
    return f"{scale.text(scatter.deviation, more=1)} ({low} to {high})"


def _run(own: Sequence[TrialRecord], pair: tuple[Split, Split]) -> str:
    """The run that would tell, where all trainings are of one length."""
    pace = Pace.of([record for record in own if record.split in pair] or own)
    judging = pace.judging or 0.0
    longer, same = 2 * SEEDS * (2 * pace.each - judging), 2 * SEEDS * pace.each
    at_most = "" if pace.judging is not None else "at most "
    return (
        "Whether longer trainings, or weights averaged over their end, deviate less cannot be told from "
        f"trainings of one length: {SEEDS} seeds of both at twice the length ({at_most}{longer:.2g} hours), "
        f"or with trainer.average_tail ({same:.2g} hours), would show it roughly."
    )
