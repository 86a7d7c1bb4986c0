"""Records of trials that nobody trained, for benchmarks of the statistics and the plan."""

from __future__ import annotations

from collections.abc import Iterable

from search.trials.design_point import DesignPoint
from search.trials.record import TrialRecord
from trainers.spec import SeedResult


def simulated(
    point: DesignPoint, rewards: Iterable[float], *, diversity: float, seeds: Iterable[int] | None = None
) -> TrialRecord:
    """A record of `point` with one reward per seed (by default seeds count from 0); each label costs 1."""
    rewards = tuple(float(reward) for reward in rewards)
    seeds = range(len(rewards)) if seeds is None else seeds
    return TrialRecord(
        trial=point.label,
        point=point,
        cost=point.prompts * point.responses * (point.raters or 1),
        diversity=diversity,
        results=tuple(SeedResult(seed=s, reward=r) for s, r in zip(seeds, rewards, strict=True)),
    )
