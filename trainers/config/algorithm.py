"""Which preference algorithm trains the policy, and its constants. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, field_validator, model_validator

from base.errors import known
from base.settings import Settings

Pairing = Literal["best_worst", "adjacent", "all", "best_low", "margin"]


@dataclass(frozen=True)
class Loss:
    """Where an algorithm's class is ("module:class"), and the fewest responses per prompt it learns from."""

    path: str
    min_responses: int = 2


# Every algorithm by its name: a new one is a file in `trainers/algorithms` and a line here.
LOSSES = {
    "sft": Loss("trainers.algorithms.sft:SFT", min_responses=1),
    "pro": Loss("trainers.algorithms.pro:PRO"),
    "plackett_luce": Loss("trainers.algorithms.plackett_luce:PlackettLuce"),
    "rrhf": Loss("trainers.algorithms.rrhf:RRHF"),
    "dpo": Loss("trainers.algorithms.dpo:DPO"),
    "simpo": Loss("trainers.algorithms.simpo:SimPO"),
}
PAIRED = ("dpo", "simpo")  # learn from pairs of responses, which `pairing` draws


class AlgorithmConfig(Settings):
    """The `algorithm` section, checked by the driver before Ray starts."""

    name: str = Field("pro", description=f"loss: {', '.join(LOSSES)}")
    sft_weight: float = Field(
        0.05, ge=0, description="weight of the best response's log-likelihood in pro, times (k-1)^2"
    )
    sft_target: Literal["best", "weighted"] = Field(
        "best", description="what sft learns: the best response, or all of them weighted by softmax of score"
    )
    sft_temperature: float = Field(1.0, gt=0, description="temperature of those weights (units of score)")
    pairing: Pairing = Field(
        "best_worst",
        description="pairs that dpo and simpo draw from k responses: best_worst, adjacent, all, best_low"
        " (best against the one nearest the mean minus two standard deviations), margin (score gap in range)",
    )
    min_margin: float = Field(
        0.0, ge=0, description="smallest score gap of a pair under pairing margin (score)"
    )
    max_margin: float | None = Field(
        None, gt=0, description="largest score gap of a pair under pairing margin (score; none: no limit)"
    )
    beta: float | None = Field(
        None,
        gt=0,
        description="inverse temperature of the implicit reward (none: dpo 0.1, simpo 2, plackett_luce 1)",
    )
    target_margin: float = Field(1.0, ge=0, description="reward margin that simpo asks of a pair (nats)")

    @field_validator("name")
    @classmethod
    def _name_is_known(cls, name: str) -> str:
        return known(name, LOSSES)

    @model_validator(mode="after")
    def _margins_in_order(self) -> AlgorithmConfig:
        if self.max_margin is not None and self.max_margin < self.min_margin:
            raise ValueError(f"max_margin {self.max_margin} is below min_margin {self.min_margin}")
        return self

    @property
    def min_responses(self) -> int:
        """Fewest responses per prompt that the algorithm can learn from."""
        return LOSSES[self.name].min_responses
