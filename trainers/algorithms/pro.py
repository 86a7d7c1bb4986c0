"""Preference Ranking Optimization."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainers.algorithms.base import LossOutput, compared_pairs, keep_ranked, per_ranking
from trainers.policy.batching import Batch, Ranking
from trainers.policy.policy import ResponseLogps

if TYPE_CHECKING:
    from trainers.config.algorithm import AlgorithmConfig


@dataclass(frozen=True)
class PRO:
    """Listwise ranking with temperatures from reward gaps (Song et al. 2023, arXiv 2306.17492, eq. 6 to 9).

    With responses y_1..y_k by falling score r and p_i the log-probability per token of y_i:

        L = - sum_{j<k} log( exp(p_j / T_jj) / sum_{i>=j} exp(p_i / T_ji) )  -  b (k-1)^2 |y_1| p_1
        1 / T_ji = r_j - r_i  for i > j,    1 / T_jj = max_{i>j} (r_j - r_i)

    b is `sft_weight`; 0.05 and the factor (k-1)^2 are those of Song et al. 2024 (arXiv 2403.11124), whose
    imitation term is summed over the tokens. Where y_j ties with all that follow it, the term is a constant.
    Where only some pairs were compared, y_j's term is over itself and those that it was compared with.
    """

    sft_weight: float = 0.05
    name: str = "pro"
    uses_reference: bool = False

    @classmethod
    def of(cls, config: AlgorithmConfig) -> PRO:
        """The algorithm with the constants of `config`."""
        return cls(config.sft_weight)

    def prepare(self, ranking: Ranking) -> Ranking | None:
        return keep_ranked(ranking)

    def loss(self, logps: ResponseLogps, batch: Batch) -> LossOutput:
        means, present = per_ranking(logps.mean, batch.sizes)
        scores, _ = per_ranking(batch.scores.to(logps.total), batch.sizes)
        rank = _listwise(means, scores, present, compared_pairs(batch))
        weights = self.sft_weight * (present.sum(1) - 1).square()
        sft = -(weights * per_ranking(logps.total, batch.sizes)[0][:, 0]).sum()
        return LossOutput(rank + sft, {"rank": float(rank.detach()), "sft": float(sft.detach())})


def _listwise(means: Tensor, scores: Tensor, present: Tensor, compared: Tensor) -> Tensor:
    """The ranking term summed over rankings; arguments [B, K], `compared` and the tables below [B, j, i]."""
    later = compared & present[:, None, :] & torch.ones_like(present[0]).expand(means.shape[1], -1).triu(1)
    gaps = (scores[:, :, None] - scores[:, None, :]).masked_fill(~later, 0.0)
    own = means * gaps.amax(2)
    logits = (means[:, None, :] * gaps).masked_fill(~later, float("-inf"))
    terms = torch.logsumexp(torch.cat([own[:, :, None], logits], dim=2), dim=2) - own
    return terms.masked_fill(~later.any(2), 0.0).sum()
