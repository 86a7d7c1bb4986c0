"""Simple Preference Optimization: no reference policy."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch.nn.functional import logsigmoid

from trainers.algorithms.base import LossOutput
from trainers.algorithms.pairs import Pairs
from trainers.config.algorithm import AlgorithmConfig
from trainers.policy.batching import Batch, Ranking
from trainers.policy.policy import ResponseLogps


@dataclass(frozen=True)
class SimPO:
    """Logistic loss on the gap in log-probability per token (Meng et al. 2024, arXiv 2405.14734, eq. 6).

    With p_i the log-probability per token of y_i, and pairs (w, l) of a ranking:

        L = mean over pairs of -log sigmoid(beta (p_w - p_l) - target_margin)
    """

    pairs: Pairs = field(default_factory=Pairs)
    beta: float = 2.0
    target_margin: float = 1.0
    name: str = "simpo"
    uses_reference: bool = False

    @classmethod
    def of(cls, config: AlgorithmConfig) -> SimPO:
        """The algorithm with the constants of `config`."""
        return cls(Pairs.of(config), config.beta or 2.0, config.target_margin)

    def prepare(self, ranking: Ranking) -> Ranking | None:
        return self.pairs.keep_paired(ranking)

    def loss(self, logps: ResponseLogps, batch: Batch) -> LossOutput:
        better, worse, weights = self.pairs.of_batch(batch)
        gaps = self.beta * (logps.mean[better] - logps.mean[worse])
        total = -(weights * logsigmoid(gaps - self.target_margin)).sum()
        return LossOutput(
            total,
            {"rank": float(total.detach()), "accuracy": float((weights * (gaps > 0)).sum())},
        )
