"""The reward of a training as it would be with answers as long as the base model's.

Reward models, like other judges, tend to prefer long answers. As AlpacaEval 2 does for win rates (Dubois et
al. 2024, arXiv 2404.04475), the judged reward is regressed on the length of the answer and read at the base
model's length. The reward of training t on held-out prompt i is

    y[t, i] = a[t] + p[i] + slope * x[t, i] + noise
    x[t, i] = tanh((length[t, i] - length[base, i]) / unit)

with `unit` the standard deviation of those differences of length over all trainings. The base model is one of
the trainings. Effects of trainings and of prompts are taken out of both sides, so that the slope tells what
length does to one policy on one prompt, not that better policies write more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from search.fit.observations import Floats
from search.trials.record import TrialRecord
from trainers.spec import SeedResult


@dataclass(frozen=True)
class LengthControl:
    """What length does to the reward, and each trial's rewards without it.

    `slope` is the reward that goes with x from 0 to 1 (x is never above 1), `unit` and lengths are in
    characters. `rewards` and `lengths` are those of a trial's seeds, in their order, by the trial's key.
    """

    slope: float
    interval_95: tuple[float, float]
    unit: float
    base_length: float
    rewards: Mapping[str, tuple[float, ...]]
    lengths: Mapping[str, tuple[float, ...]]

    @property
    def per_unit(self) -> float:
        """Reward that goes with an answer `unit` characters longer than the base model's."""
        return self.slope * float(np.tanh(1))

    def to_dict(self) -> dict[str, Any]:
        """As kept in recommendation.json."""
        return {
            "slope": self.slope,
            "interval_95": list(self.interval_95),
            "unit": self.unit,
            "base_length": self.base_length,
            "rewards": {trial: list(rewards) for trial, rewards in self.rewards.items()},
            "lengths": {trial: list(lengths) for trial, lengths in self.lengths.items()},
        }


def control_length(records: Sequence[TrialRecord], base: SeedResult | None) -> LengthControl | None:
    """Rewards of the trials whose answers are known, at the lengths of the `base` model's answers.

    None where the base model's answers are not known, or those of no trial to the same prompts. Rewards lie
    in [0, 1], as reward models give them.
    """
    if base is None or len(base.answers) < 2 or len(base.rewards) != len(base.answers):
        return None
    size = len(base.answers)
    known = [r for r in records if all(len(o.answers) == len(o.rewards) == size for o in r.results)]
    if not known:
        return None
    results = [base, *(result for record in known for result in record.results)]
    lengths = np.array([[len(answer) for answer in result.answers] for result in results], float)
    rewards = np.array([result.rewards for result in results], float)
    longer = lengths - lengths[0]
    unit = float(longer[1:].std())
    x = np.tanh(longer / unit) if unit else np.zeros_like(longer)
    slope, reach = _slope(x, rewards)
    controlled = np.clip((rewards - slope * x).mean(axis=1), 0, 1)
    return LengthControl(
        slope=slope,
        interval_95=(slope - reach, slope + reach),
        unit=unit,
        base_length=float(lengths[0].mean()),
        rewards=_by_trial(known, controlled[1:]),
        lengths=_by_trial(known, lengths[1:].mean(axis=1)),
    )


def _slope(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope of y on x [trainings, prompts] within trainings and prompts, and half its 95% interval.

    The error counts prompts as independent, not answers (cluster-robust, Liang and Zeger 1986). 0 and 0
    where x does not vary.
    """
    x, y = _within(x), _within(y)
    squares = float(np.sum(x**2))
    if squares < 1e-12:
        return 0.0, 0.0
    slope = float(np.sum(x * y)) / squares
    scores = np.sum(x * (y - slope * x), axis=0)
    count = len(scores)
    error = float(np.sqrt(count / (count - 1) * np.sum(scores**2))) / squares
    return slope, float(stdtrit(count - 1, 0.975)) * error


def _within(values: Floats) -> Floats:
    """Less the means of rows and of columns."""
    rows, columns = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    return np.asarray(values - rows - columns + values.mean())


def _by_trial(records: Sequence[TrialRecord], values: Floats) -> dict[str, tuple[float, ...]]:
    """One value for each seed, in the order of the records, by trial."""
    each = iter(values.tolist())
    return {record.trial: tuple(next(each) for _ in record.results) for record in records}
