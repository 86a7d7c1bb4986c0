"""Rank Responses to align Human Feedback."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from trainers.algorithms.base import LossOutput, compared_pairs, keep_ranked, per_ranking
from trainers.config.algorithm import AlgorithmConfig
from trainers.policy.batching import Batch, Ranking
from trainers.policy.policy import ResponseLogps


@dataclass(frozen=True)
class RRHF:
    """Hinge on every misordered pair, and imitation of the best (Yuan et al. 2023, arXiv 2304.05302).

    With p_i the log-probability per token of y_i and r_i its score:

        L = sum_{r_i < r_j} max(0, p_i - p_j) - p_best

    over the pairs that were compared. The imitation term is per token, as p is; the paper's equation sums it
    over tokens.
    """

    name: str = "rrhf"
    uses_reference: bool = False

    @classmethod
    def of(cls, config: AlgorithmConfig) -> RRHF:
        """The algorithm with the constants of `config`."""
        return cls()

    def prepare(self, ranking: Ranking) -> Ranking | None:
        return keep_ranked(ranking)

    def loss(self, logps: ResponseLogps, batch: Batch) -> LossOutput:
        means, present = per_ranking(logps.mean, batch.sizes)
        scores, _ = per_ranking(batch.scores.to(logps.total), batch.sizes)
        lower = (scores[:, :, None] < scores[:, None, :]) & present[:, :, None] & present[:, None, :]
        lower &= compared_pairs(batch).transpose(1, 2)
        rank = torch.relu(means[:, :, None] - means[:, None, :]).masked_fill(~lower, 0.0).sum()
        sft = -means[:, 0].sum()
        return LossOutput(rank + sft, {"rank": float(rank.detach()), "sft": float(sft.detach())})
