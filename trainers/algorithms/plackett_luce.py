"""Listwise likelihood of the ranking."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trainers.algorithms.base import LossOutput, compared_pairs, keep_ranked, per_ranking
from trainers.config.algorithm import AlgorithmConfig
from trainers.policy.batching import Batch, Ranking
from trainers.policy.policy import ResponseLogps


@dataclass(frozen=True)
class PlackettLuce:
    """Minus the log-likelihood of the order under Plackett and Luce's model (ListMLE, Xia et al. 2008).

    With responses y_1..y_k by falling score and s_i = beta x log-probability per token of y_i:

        L = sum_{j<k} log sum_{i>=j} exp(s_i) - s_j

    Responses of equal score, and those that were never compared, have no order: y_j's sum is over itself and
    those that are worse than it.
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
        scores, _ = per_ranking(batch.scores, batch.sizes)
        worse = (scores[:, :, None] > scores[:, None, :]) & present[:, None, :] & compared_pairs(batch)
        among = worse | torch.diag_embed(present)
        remaining = strengths[:, None, :].masked_fill(~among, float("-inf"))[present].logsumexp(1)
        total = (remaining - strengths[present]).sum()
        return LossOutput(total, {"rank": float(total.detach())})
