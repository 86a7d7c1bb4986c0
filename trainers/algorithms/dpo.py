"""Direct Preference Optimization over pairs drawn from a ranking."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch.nn.functional import logsigmoid

from trainers.algorithms.base import LossOutput
from trainers.algorithms.pairs import Pairs
from trainers.config.algorithm import AlgorithmConfig
from trainers.policy.batching import Batch, Ranking
from trainers.policy.policy import ResponseLogps


@dataclass(frozen=True)
class DPO:
    """Logistic loss on the implicit reward's gap (Rafailov et al. 2023, arXiv 2305.18290, eq. 7).

    With h_i = log p(y_i | x) - log p_ref(y_i | x), summed over tokens, and pairs (w, l) of a ranking:

        L = mean over pairs of -log sigmoid(beta (h_w - h_l))

    `Batch.reference` holds log p_ref, computed once by `trainers.policy.policy.with_reference`.
    """

    pairs: Pairs = field(default_factory=Pairs)
    beta: float = 0.1
    name: str = "dpo"
    uses_reference: bool = True

    @classmethod
    def of(cls, config: AlgorithmConfig) -> DPO:
        """The algorithm with the constants of `config`."""
        return cls(Pairs.of(config), config.beta or 0.1)

    def prepare(self, ranking: Ranking) -> Ranking | None:
        return self.pairs.keep_paired(ranking)

    def loss(self, logps: ResponseLogps, batch: Batch) -> LossOutput:
        assert batch.reference is not None, "dpo needs rankings from with_reference"
        rewards = self.beta * (logps.total - batch.reference)
        better, worse, weights = self.pairs.of_batch(batch)
        gaps = rewards[better] - rewards[worse]
        total = -(weights * logsigmoid(gaps)).sum()
        return LossOutput(
            total,
            {
                "rank": float(total.detach()),
                "margin": float((weights * gaps.detach()).sum()),
                "accuracy": float((weights * (gaps > 0)).sum()),
            },
        )
