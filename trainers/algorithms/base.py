"""The protocol of preference algorithms: a loss of the responses' log-probabilities and scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from trainers.policy.batching import Batch, Ranking
from trainers.policy.policy import ResponseLogps


@dataclass(frozen=True)
class LossOutput:
    """`total`: scalar, a SUM over the batch's rankings (so that how a step is cut into batches does not
    matter); `parts`: named sums to log, detached."""

    total: Tensor
    parts: dict[str, float]


class Algorithm(Protocol):
    """A preference loss; its class has `of(config: AlgorithmConfig)`, which makes one with its constants."""

    @property
    def name(self) -> str:
        """As in the configuration."""

    @property
    def uses_reference(self) -> bool:
        """Whether `Batch.reference` must be filled in."""

    def prepare(self, ranking: Ranking) -> Ranking | None:
        """The ranking with only the responses that the loss needs, or None if there is nothing to learn."""

    def loss(self, logps: ResponseLogps, batch: Batch) -> LossOutput:
        """The loss of a batch of prepared rankings."""


def keep_ranked(ranking: Ranking) -> Ranking | None:
    """The ranking whole, or None where it has only one response, or none that were compared."""
    return ranking if len(ranking.scores) > 1 and ranking.compared != () else None


def per_ranking(values: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Flat [R] as a table [B, K], K the largest ranking, zeros in the gaps; and which entries are real."""
    counts = torch.tensor(sizes, device=values.device)
    present = torch.arange(max(sizes), device=values.device) < counts[:, None]
    table = torch.zeros(present.shape, dtype=values.dtype, device=values.device)
    return table.masked_scatter(present, values), present


def compared_pairs(batch: Batch) -> Tensor:
    """Which responses may be set against each other: [B, K, K] bool, the better along the second axis.

    All of them, but for rankings that say which were compared.
    """
    widest = max(batch.sizes)
    allowed = torch.ones(len(batch.sizes), widest, widest, dtype=torch.bool)
    for table, pairs in zip(allowed, batch.compared, strict=True):
        if pairs is not None:
            table.zero_()
            for better, worse in pairs:
                table[better, worse] = True
    return allowed.to(batch.scores.device)
