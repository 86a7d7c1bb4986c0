"""A reward model held in memory: known answers have known scores. For tests and dry runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metrics.reward.base import check_pairs, checked_scores
from pools.types import Prompt


class MemoryReward:
    """Looks the response up in `scores`; any other response gets `otherwise`. Keeps the pairs it judged."""

    def __init__(self, scores: Mapping[str, float] | None = None, *, otherwise: float = 0.5) -> None:
        self._scores = dict(scores or {})
        self._otherwise = otherwise
        self.judged: list[tuple[Prompt, str]] = []

    def score(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
        """See `RewardModel.score`."""
        check_pairs(prompts, responses)
        self.judged.extend(zip(prompts, responses, strict=True))
        scores = [self._scores.get(response, self._otherwise) for response in responses]
        return checked_scores(scores, expected=len(prompts))
