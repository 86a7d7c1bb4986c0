"""A few splits trained under another setting: whether the first of them is as good as any there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from search.config.cost import Split
from search.config.scale import UNIT, RewardScale
from search.fit.ensemble import direct_forecast
from search.fit.forecast import Forecast
from search.fit.models import Points
from search.fit.observations import Observations
from search.trials.record import TrialRecord

DRAWS = 20_000

# A setting is looked at after every trial, and level splits are separated by chance at one look or another: a
# look must be surer than the whole may be, by this factor (benchmarks/README.md, transfer, with and without).
LOOKS = 2.0

Verdict = Literal["carries over", "reversed", "open"]


@dataclass(frozen=True, eq=False)
class Target:
    """Belief about `splits` under one setting, from their own trials alone; the first is the advised one.

    `still_best` is the probability that none of the others is better than the first by more than the margin,
    `runner_up` the index of the one with the highest mean, and `runner_up_better` the probability that it is
    better by more. The same trials give the same figures, so that what ends a study stands in its report.
    """

    splits: tuple[Split, ...]
    forecast: Forecast
    still_best: float
    runner_up: int
    runner_up_better: float

    def verdict(self, confidence: float) -> Verdict:
        """Whether the first split's lead is settled, either way, at the asked confidence."""
        needed = 1 - (1 - confidence) / LOOKS
        if self.still_best >= needed:
            return "carries over"
        return "reversed" if self.runner_up_better >= needed else "open"


def believe_target(
    records: Sequence[TrialRecord],
    splits: Sequence[Split],
    margin: float,
    *,
    scale: RewardScale = UNIT,
) -> Target | None:
    """The belief about those of `splits` that `records`, all under one setting, hold trials of.

    None unless the first and one other were trained, or while no split has two seeds, which tell the noise.
    """
    trained = {record.split for record in records if record.selection == "random"}
    found = in_order([split for split in splits if split in trained])
    if len(found) < 2 or found[0] != splits[0]:
        return None
    tried = Points.at(found, [1.0] * len(found))  # whatever their diversity: only these trials are asked
    forecast = direct_forecast(Observations.from_records(records, scale), tried)
    if forecast is None:
        return None
    draws = forecast.draws(seed=0, count=DRAWS)
    leads = draws[:, 1:] - draws[:, :1]
    runner_up = int(np.argmax(forecast.mean[1:]))
    return Target(
        splits=found,
        forecast=forecast,
        still_best=float(np.mean(leads.max(axis=1) <= margin)),
        runner_up=1 + runner_up,
        runner_up_better=float(np.mean(leads[:, runner_up] > margin)),
    )


def in_order(splits: Sequence[Split]) -> tuple[Split, ...]:
    """The first, then the others in one order, whatever order they are named in."""
    others = set(splits[1:]) - set(splits[:1])
    return (*splits[:1], *sorted(others, key=lambda s: (s.prompts, s.responses, s.labelling.rank)))
