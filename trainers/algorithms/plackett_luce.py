"""Listwise likelihood of the ranking."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trainers.algorithms.base import LossOutput, keep_ranked, per_ranking
from trainers.config.algorithm import AlgorithmConfig
from trainers.policy.batching import Batch, Ranking
from trainers.policy.policy import ResponseLogps


@dataclass(frozen=True)
class PlackettLuce:
    """Minus the log-likelihood of the order under Plackett and Luce's model (ListMLE, Xia et al. 2008).

    With responses y_1..y_k by falling score and s_i = beta x log-probability per token of y_i:

        L = sum_{j<k} log sum_{i>=j} exp(s_i) - s_j
    """

    beta: float = 1.0
    name: str = "plackett_luce"
    uses_reference: bool = False

    @classmethod
    def of(cls, config: AlgorithmConfig) -> PlackettLuce:
        """The algorithm with the constants of `config`."""
        return cls(config.beta or 1.0)

    def prepare(self, ranking: Ranking) -> Ranking | None:
        return keep_ranked(ranking)

    def loss(self, logps: ResponseLogps, batch: Batch) -> LossOutput:
        strengths, present = per_ranking(self.beta * logps.mean, batch.sizes)
        remaining = torch.where(present, strengths, float("-inf")).flip(1).logcumsumexp(1).flip(1)
        total = (remaining - strengths).masked_fill(~present, 0.0).sum()
        return LossOutput(total, {"rank": float(total.detach())})
