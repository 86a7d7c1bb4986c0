"""Where a trial's noise comes from: the draw of its prompts, the training, and judging on few prompts.

Crossed random effects by moments. The reward of the training of design point t with seed s on held-out
prompt i is

    y[t, s, i] = m[t] + p[i] + d[s] + g[t, s] + e[t, s, i]

with d what a seed shares between design points (they draw nested prefixes of one shuffle of the prompts), g
the rest of the training, and e what is left on a single prompt. p, how hard a held-out prompt is, is the same
for all trainings and cancels between them. Intervals are generalized ones (Weerahandi 1993): each mean square
over a chi-square draw of its degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np

from search.fit.observations import Floats
from search.trials.record import TrialRecord

DRAWS = 20_000
# Rewards on the held-out prompts of each training, by design point and seed.
Trainings: TypeAlias = Mapping[tuple[str, int], Floats]


@dataclass(frozen=True)
class Component:
    """One source of noise: what it adds to the variance of one training's mean reward, with 95% interval."""

    variance: float
    interval_95: tuple[float, float]


@dataclass(frozen=True)
class NoiseBudget:
    """What one training's mean reward varies by. `draw` is None where no seeds are shared by design points.

    `judging` falls as 1 / held-out prompts, all three as 1 / seeds; `draw` cancels between splits that
    were trained with the same seeds.
    """

    draw: Component | None
    training: Component
    judging: Component
    held_out: int
    trainings: int

    @property
    def total(self) -> float:
        parts = (self.draw, self.training, self.judging)
        return sum(part.variance for part in parts if part is not None)

    @property
    def of_difference(self) -> float:
        """Variance of the difference of two splits trained with one and the same seed."""
        return 2 * (self.training.variance + self.judging.variance)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"total": self.total, "of_difference": self.of_difference}


def trainings_of(records: Sequence[TrialRecord]) -> Trainings:
    """The trainings of random design points that were judged on equally many held-out prompts (the mode)."""
    judged = {
        (record.trial, result.seed): np.array(result.rewards, float)
        for record in records
        for result in record.results
        if record.selection == "random" and not record.group and len(result.rewards) > 1
    }
    sizes = [len(rewards) for rewards in judged.values()]
    most = max(set(sizes), key=sizes.count, default=0)
    return {name: rewards for name, rewards in judged.items() if len(rewards) == most}


def noise_budget(trainings: Trainings, seed: int = 0) -> NoiseBudget | None:
    """Split the noise of `trainings`; None where no design point was trained with two seeds."""
    points: dict[str, dict[int, Floats]] = {}
    for (point, number), rewards in trainings.items():
        points.setdefault(point, {})[number] = rewards
    repeated = {point: seeds for point, seeds in points.items() if len(seeds) > 1}
    if not repeated:
        return None
    count = len(next(iter(trainings.values())))
    squares = np.array([_mean_squares(np.array(list(seeds.values()))) for seeds in repeated.values()])
    df = float(sum(len(seeds) - 1 for seeds in repeated.values()))
    between, within = (float(squares[:, i].sum()) / df for i in (0, 1))
    judging = _Square(within / count, df * (count - 1))
    crossed = _crossed(repeated)
    generator = np.random.default_rng(seed)
    training = _Square(between, df) if crossed is None else crossed[1]
    return NoiseBudget(
        draw=None if crossed is None else _difference(crossed[0], crossed[1], crossed[2], generator),
        training=_difference(training, judging, 1, generator),
        judging=_difference(judging, None, 1, generator),
        held_out=count,
        trainings=len(trainings),
    )


@dataclass(frozen=True)
class _Square:
    """A mean square and its degrees of freedom."""

    value: float
    df: float

    def pivots(self, generator: np.random.Generator) -> Floats:
        return np.asarray(self.value * self.df / generator.chisquare(self.df, DRAWS))


def _mean_squares(rewards: Floats) -> tuple[float, float]:
    """Sums of squares of one design point's `rewards` [seeds, prompts]: of seed means, and of what is left.

    The second is divided by prompts - 1.
    """
    means = rewards.mean(axis=1, keepdims=True)
    left = rewards - means - rewards.mean(axis=0) + rewards.mean()
    return float(np.sum((means - means.mean()) ** 2)), float(np.sum(left**2)) / (rewards.shape[1] - 1)


def _crossed(points: Mapping[str, Mapping[int, Floats]]) -> tuple[_Square, _Square, int] | None:
    """Mean squares of seeds and of what is left, over the seeds that all points share, and the points.

    None with fewer than two shared seeds or two points.
    """
    shared = sorted(set.intersection(*(set(seeds) for seeds in points.values())))
    if len(shared) < 2 or len(points) < 2:
        return None
    means = np.array([[seeds[s].mean() for s in shared] for seeds in points.values()])
    by_seed = means.mean(axis=0)
    left = means - means.mean(axis=1, keepdims=True) - by_seed + means.mean()
    rows, columns = means.shape
    seeds = _Square(rows * float(np.var(by_seed, ddof=1)), columns - 1)
    rest_df = (rows - 1) * (columns - 1)
    return seeds, _Square(float(np.sum(left**2)) / rest_df, rest_df), rows


def _difference(
    upper: _Square, lower: _Square | None, divisor: int, generator: np.random.Generator
) -> Component:
    """The component (upper - lower) / divisor, never below 0."""
    low = 0.0 if lower is None else lower.value
    pivots = upper.pivots(generator) - (0.0 if lower is None else lower.pivots(generator))
    bounds = np.maximum(np.quantile(pivots / divisor, (0.025, 0.975)), 0)
    return Component(max(upper.value - low, 0.0) / divisor, (float(bounds[0]), float(bounds[1])))
