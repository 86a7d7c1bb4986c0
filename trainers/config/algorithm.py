"""Which preference algorithm trains the policy, and its constants."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from base.settings import Settings

AlgorithmName = Literal["sft", "pro", "plackett_luce", "rrhf", "dpo", "simpo"]
Pairing = Literal["best_worst", "adjacent", "all", "best_low", "margin"]


class AlgorithmConfig(Settings):
    """The `algorithm` section: imports no torch, so that the driver can check it before Ray starts."""

    name: AlgorithmName = Field("pro", description="loss: sft, pro, plackett_luce, rrhf, dpo or simpo")
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

    @model_validator(mode="after")
    def _margins_in_order(self) -> AlgorithmConfig:
        if self.max_margin is not None and self.max_margin < self.min_margin:
            raise ValueError(f"max_margin {self.max_margin} is below min_margin {self.min_margin}")
        return self

    @property
    def min_responses(self) -> int:
        """Fewest responses per prompt that the algorithm can learn from."""
        return 1 if self.name == "sft" else 2

    @property
    def uses_reference(self) -> bool:
        """Whether log-probabilities under the frozen initial policy are needed."""
        return self.name == "dpo"
