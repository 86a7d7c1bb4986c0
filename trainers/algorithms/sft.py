"""Supervised fine-tuning on the best response, or on all of them weighted by reward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from trainers.algorithms.base import LossOutput, per_ranking
from trainers.config.algorithm import AlgorithmConfig
from trainers.policy.batching import Batch, Ranking
from trainers.policy.policy import ResponseLogps


@dataclass(frozen=True)
class SFT:
    """Minus the log-probability per token of the responses to imitate, for each ranking:

        L = - sum_i w_i log p(y_i | x) / |y_i|

    With target `best`, w is 1 for the best response (SFT in Song et al. 2024, arXiv 2403.11124); with
    `weighted`, w = softmax(score / temperature) over the ranking (reward-weighted regression, Peters and
    Schaal 2007).
    """

    target: Literal["best", "weighted"] = "best"
    temperature: float = 1.0
    name: str = "sft"
    uses_reference: bool = False

    @classmethod
    def of(cls, config: AlgorithmConfig) -> SFT:
        """The algorithm with the constants of `config`."""
        return cls(config.sft_target, config.sft_temperature)

    def prepare(self, ranking: Ranking) -> Ranking:
        return ranking.keep([0]) if self.target == "best" else ranking

    def loss(self, logps: ResponseLogps, batch: Batch) -> LossOutput:
        means, present = per_ranking(logps.mean, batch.sizes)
        scores = per_ranking(batch.scores.to(logps.total), batch.sizes)[0] / self.temperature
        weights = torch.softmax(scores.masked_fill(~present, float("-inf")), dim=1)
        chosen = means[:, 0] if self.target == "best" else (weights * means).sum(1)
        total = -chosen.sum()
        return LossOutput(total, {"sft": float(total.detach())})
