"""Builders of test data: trials and their records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search.trials.design_point import DesignPoint, Trial
from search.trials.record import TrialRecord
from trainers.spec import SeedResult


def planned(prompts: int, responses: int, seeds: Sequence[int] = (0, 1), **point: Any) -> Trial:
    """A trial of the split; `point` are further fields of its design point."""
    return Trial(DesignPoint(prompts=prompts, responses=responses, **point), tuple(seeds))


def record(
    trial: Trial,
    *rewards: float,
    key: str = "",
    cost: float | None = None,
    diversity: float = 1.0,
    baselines: Mapping[str, float] | None = None,
    seconds: float = 0.0,
    **result: Any,
) -> TrialRecord:
    """The finished `trial` with these rewards, one per seed; `result` are fields of each seed's result."""
    point = trial.point
    results = [
        SeedResult(**{"seed": seed, "reward": reward, "rewards": (reward,), "answers": ("a",), **result})
        for seed, reward in zip(trial.seeds, rewards, strict=True)
    ]
    return TrialRecord(
        trial=key or trial.key("study"),
        point=point,
        cost=point.prompts * point.responses if cost is None else cost,
        diversity=diversity,
        results=tuple(results),
        baselines=baselines or {},
        seconds=seconds,
    )
