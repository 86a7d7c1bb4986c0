"""The pairs of a ranking's responses that the pairwise losses compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from operator import itemgetter
from statistics import fmean, pstdev

import torch
from torch import Tensor

from pools.types import Compared
from trainers.config.algorithm import AlgorithmConfig, Pairing
from trainers.policy.batching import Batch, Ranking


@dataclass(frozen=True)
class Pairs:
    """A policy for drawing (better, worse) pairs; tied responses never make one.

    best_worst: the ends of the ranking. adjacent: each response and the next. all: every two. best_low:
    the best and the one whose score is nearest the mean minus two standard deviations of the ranking's
    scores (Xiao et al. 2025, arXiv 2502.16825). margin: every two whose score gap lies in
    [min_margin, max_margin]. Of responses that were compared in part, only such pairs are drawn:
    best_worst is then the pair with the largest gap, adjacent each response and the next compared with it.
    """

    policy: Pairing = "best_worst"
    min_margin: float = 0.0
    max_margin: float = float("inf")

    @classmethod
    def of(cls, config: AlgorithmConfig) -> Pairs:
        """The policy that `config` asks for."""
        highest = float("inf") if config.max_margin is None else config.max_margin
        return cls(config.pairing, config.min_margin, highest)

    def draw(self, scores: Sequence[float], compared: Compared | None = None) -> list[tuple[int, int]]:
        """Pairs (better, worse) of indices into a ranking with these falling scores."""
        if compared is not None:
            return self._among(scores, sorted(compared))
        return [(i, j) for i, j in self._candidates(scores) if scores[i] > scores[j]]

    def keep_paired(self, ranking: Ranking) -> Ranking | None:
        """The ranking with only the responses that some pair needs; None if there is no pair."""
        pairs = self.draw(ranking.scores, ranking.compared)
        return ranking.keep(index for pair in pairs for index in pair) if pairs else None

    def of_batch(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Better [P], worse [P] as indices of the batch's R responses, and weights [P].

        A ranking's pairs share a weight of 1, so that a ranking counts the same however many it has.
        """
        better, worse, weights = [], [], []
        start = 0
        for scores, compared in zip(
            torch.split(batch.scores, list(batch.sizes)), batch.compared, strict=True
        ):
            pairs = self.draw(scores.tolist(), compared)
            better += [start + i for i, _ in pairs]
            worse += [start + j for _, j in pairs]
            weights += [1 / len(pairs) for _ in pairs]
            start += len(scores)
        device = batch.scores.device
        indices = torch.tensor([better, worse], dtype=torch.long, device=device)
        return indices[0], indices[1], torch.tensor(weights, device=device)

    def _among(self, scores: Sequence[float], compared: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """The pairs that the policy draws where only these were compared."""
        if not compared:
            return []
        if self.policy == "best_worst":
            return [max(compared, key=lambda pair: scores[pair[0]] - scores[pair[1]])]
        if self.policy == "adjacent":
            return [min(group, key=itemgetter(1)) for _, group in groupby(compared, itemgetter(0))]
        if self.policy == "best_low":
            low = fmean(scores) - 2 * pstdev(scores)
            return [min(compared, key=lambda pair: (pair[0], abs(scores[pair[1]] - low)))]
        if self.policy == "margin":
            gaps = {pair: scores[pair[0]] - scores[pair[1]] for pair in compared}
            return [pair for pair, gap in gaps.items() if self.min_margin <= gap <= self.max_margin]
        return compared

    def _candidates(self, scores: Sequence[float]) -> list[tuple[int, int]]:
        last = len(scores) - 1
        if last < 1:
            return []
        if self.policy == "best_worst":
            return [(0, last)]
        if self.policy == "adjacent":
            return [(i, i + 1) for i in range(last)]
        every = list(combinations(range(len(scores)), 2))
        if self.policy == "margin":
            return [(i, j) for i, j in every if self.min_margin <= scores[i] - scores[j] <= self.max_margin]
        if self.policy == "best_low":
            low = fmean(scores) - 2 * pstdev(scores)
            return [(0, min(range(1, len(scores)), key=lambda i: abs(scores[i] - low)))]
        return every
