"""What one finished trial leaves behind: the row that the fit, the tables and the tracker all read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean, stdev


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial: a split, a selection and a setting, trained once for each seed.

    `rewards` holds one mean held-out reward in [0, 1] per entry of `seeds`. `diversity` is D of the
    selected prompts (Song et al. 2024), averaged over the seeds where each seed draws its own subset;
    `rivals` holds the other prompt statistics by name, `domain_rewards` the mean reward by prompt domain.
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
    rivals: Mapping[str, float] = field(default_factory=dict)
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
