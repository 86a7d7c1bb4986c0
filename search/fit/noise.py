"""Where a trial's noise comes from: the draw of its prompts, the training, and judging on few prompts.

Crossed random effects by moments. The reward of the training of design point t with seed s on held-out
prompt i is

    y[t, s, i] = m[t] + p[i] + q[t, i] + d[s] + g[t, s] + e[t, s, i]

with d what a seed shares between design points (they draw nested prefixes of one shuffle of the prompts), g
the rest of the training, and e what is left on a single prompt. p, how hard a held-out prompt is, is the same
for all trainings and cancels between them. q, that it suits one design point more than another, stays however
many the seeds. Intervals are generalized ones (Weerahandi 1993): each mean square over a chi-square draw of
its degrees of freedom.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np

from search.fit.observations import Floats
from search.trials.record import TrialRecord

DRAWS = 20_000
# From so many degrees of freedom on a standard deviation is known within a factor of 3: the upper end of its
# 95% interval is 31.9, 6.3, 3.7 and 2.9 times the estimate with 1, 2, 3 and 4 of them.
FEWEST_DF = 4
# Rewards on the held-out prompts of each training, by design point and seed.
Trainings: TypeAlias = Mapping[tuple[str, int], Floats]


@dataclass(frozen=True)
class Component:
    """One source of noise: what it adds to a variance of rewards, with 95% interval.

    `df` are the degrees of freedom of the mean square that it comes from.
    """

    variance: float
    interval_95: tuple[float, float]
    df: float

    @property
    def known(self) -> bool:
        """Whether enough trainings are behind it to name a figure."""
        return self.df >= FEWEST_DF


@dataclass(frozen=True)
class NoiseBudget:
    """What one training's mean reward varies by. `draw` is None where no seeds are shared by design points,
    and is then a part of `training`.

    `judging` falls as 1 / held-out prompts, all three as 1 / seeds; `draw` cancels between splits that
    were trained with the same seeds. `apart` is the variance of the difference of two splits with different
    seeds, from the seeds' own scatter.
    """

    draw: Component | None
    training: Component
    judging: Component
    apart: float
    held_out: int
    trainings: int

    @property
    def known(self) -> bool:
        """Whether trainings were repeated often enough to tell training from judging."""
        return self.training.known

    @property
    def total(self) -> float:
        parts = (self.draw, self.training, self.judging)
        return sum(part.variance for part in parts if part is not None)

    @property
    def of_difference(self) -> float:
        """Variance of the difference of two splits trained with one and the same seed."""
        return 2 * (self.training.variance + self.judging.variance)

    @property
    def judged(self) -> float:
        """Share of that variance that judging on so few prompts adds."""
        return 2 * self.judging.variance / max(self.of_difference, 1e-300)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"total": self.total, "of_difference": self.of_difference, "known": self.known}


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
    repeated = {point: seeds for point, seeds in _by_point(trainings).items() if len(seeds) > 1}
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
        apart=2 * between,
        held_out=count,
        trainings=len(trainings),
    )


def held_out_part(trainings: Trainings, points: Collection[str] = (), seed: int = 0) -> Component | None:
    """What the gap between two of `points` owes to the very prompts held out, however many the seeds.

    It is the variance of the gap over draws of held-out prompts, from the interaction of design point and
    prompt, and falls as 1 / held-out prompts. Without `points` over all design points that have two seeds.
    None with fewer than two points, or than two seeds that all of them share.
    """
    found = _by_point(trainings)
    chosen = [found.get(p, {}) for p in points] or [seeds for seeds in found.values() if len(seeds) > 1]
    shared = _shared(chosen)
    if len(chosen) < 2 or len(shared) < 2:
        return None
    rewards = np.array([[seeds[s] for s in shared] for seeds in chosen])
    count, repeats, prompts = rewards.shape
    df = (count - 1) * (prompts - 1)
    suits, left = _centred(rewards.mean(axis=1)), _centred(rewards)
    upper = _Square(repeats * float(np.sum(suits**2)) / df, df)
    lower = _Square(float(np.sum(left**2)) / (df * (repeats - 1)), df * (repeats - 1))
    return _difference(upper, lower, repeats * prompts / 2, np.random.default_rng(seed))


@dataclass(frozen=True)
class _Square:
    """A mean square and its degrees of freedom."""

    value: float
    df: float

    def pivots(self, generator: np.random.Generator) -> Floats:
        return np.asarray(self.value * self.df / generator.chisquare(self.df, DRAWS))


def _by_point(trainings: Trainings) -> dict[str, dict[int, Floats]]:
    points: dict[str, dict[int, Floats]] = {}
    for (point, seed), rewards in trainings.items():
        points.setdefault(point, {})[seed] = rewards
    return points


def _shared(points: Collection[Mapping[int, Floats]]) -> list[int]:
    """The seeds that all points were trained with."""
    return sorted(set.intersection(*(set(seeds) for seeds in points))) if points else []


def _centred(values: Floats) -> Floats:
    """What is left of `values` without the means along each axis: their interaction of the highest order."""
    for axis in range(values.ndim):
        values = values - values.mean(axis=axis, keepdims=True)
    return values


def _mean_squares(rewards: Floats) -> tuple[float, float]:
    """Sums of squares of one design point's `rewards` [seeds, prompts]: of seed means, and of what is left.

    The second is divided by prompts - 1.
    """
    means = rewards.mean(axis=1)
    return float(np.sum(_centred(means) ** 2)), float(np.sum(_centred(rewards) ** 2)) / (rewards.shape[1] - 1)


def _crossed(points: Mapping[str, Mapping[int, Floats]]) -> tuple[_Square, _Square, int] | None:
    """Mean squares of seeds and of what is left, over the seeds that all points share, and the points.

    None with fewer than two shared seeds or two points.
    """
    shared = _shared(points.values())
    if len(shared) < 2 or len(points) < 2:
        return None
    means = np.array([[seeds[s].mean() for s in shared] for seeds in points.values()])
    rows, columns = means.shape
    seeds = _Square(rows * float(np.var(means.mean(axis=0), ddof=1)), columns - 1)
    rest_df = (rows - 1) * (columns - 1)
    return seeds, _Square(float(np.sum(_centred(means) ** 2)) / rest_df, rest_df), rows


def _difference(
    upper: _Square, lower: _Square | None, divisor: float, generator: np.random.Generator
) -> Component:
    """The component (upper - lower) / divisor, never below 0."""
    low = 0.0 if lower is None else lower.value
    pivots = upper.pivots(generator) - (0.0 if lower is None else lower.pivots(generator))
    bounds = np.maximum(np.quantile(pivots / divisor, (0.025, 0.975)), 0)
    interval = float(bounds[0]), float(bounds[1])
    return Component(max(upper.value - low, 0.0) / divisor, interval, upper.df)
