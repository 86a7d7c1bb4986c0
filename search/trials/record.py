"""What one finished trial leaves behind: the row that the fit, the tables and the tracker all read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial: a split, a selection and a setting, trained once for each seed.

    `rewards` holds one mean held-out reward in [0, 1] per entry of `seeds`. `diversity` is D of the
    selected prompts (Song et al. 2024), averaged over the seeds where each seed draws its own subset;
    `baselines` holds the other prompt statistics by name, `domain_rewards` the mean reward by prompt domain.
    `hyperparameters` holds the trainer's fields that the study searches, by name.
    `cost` is what the labels of this split cost, in the unit of the study's cost model.
    """

    trial: str
    prompts: int
    responses: int
    cost: float
    diversity: float
    seeds: tuple[int, ...]
    rewards: tuple[float, ...]
    selection: str = "random"
    strength: float = 0.0
    hyperparameters: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    baselines: Mapping[str, float] = field(default_factory=dict)
    domain_rewards: Mapping[str, float] = field(default_factory=dict)
    trained_tokens: int = 0
    seconds: float = 0.0

    @property
    def reward(self) -> float:
        """Mean reward over the seeds."""
        return fmean(self.rewards)

    @property
    def reward_se(self) -> float | None:
        """Standard error of `reward` over the seeds; None for a single seed, which says nothing of noise."""
        if len(self.rewards) < 2:
            return None
        return float(stdev(self.rewards) / len(self.rewards) ** 0.5)


def pooled(records: Iterable[TrialRecord]) -> list[TrialRecord]:
    """One record for each split, selection and setting: its repetitions are further seeds of one trial."""
    merged: dict[tuple[object, ...], TrialRecord] = {}
    for record in records:
        hyperparameters = tuple(sorted(record.hyperparameters.items()))
        name = (record.prompts, record.responses, record.selection, record.strength, hyperparameters)
        merged[name] = _together(merged[name], record) if name in merged else record
    return sorted(merged.values(), key=lambda record: (record.cost, record.responses, record.selection))


def _together(one: TrialRecord, other: TrialRecord) -> TrialRecord:
    seeds = len(one.seeds), len(other.seeds)

    def mean(a: float, b: float) -> float:
        return (a * seeds[0] + b * seeds[1]) / sum(seeds)

    return replace(
        one,
        seeds=one.seeds + other.seeds,
        rewards=one.rewards + other.rewards,
        diversity=mean(one.diversity, other.diversity),
        baselines={name: mean(value, other.baselines[name]) for name, value in one.baselines.items()},
        domain_rewards={
            name: mean(value, other.domain_rewards[name]) for name, value in one.domain_rewards.items()
        },
        trained_tokens=one.trained_tokens + other.trained_tokens,
        seconds=one.seconds + other.seconds,
    )
