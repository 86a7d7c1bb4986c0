"""A reward model with a timeout."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from base.errors import RewardError
from metrics.reward.base import RewardModel
from pools.types import Prompt


class TimedReward:
    """Another reward model, whose `score` raises `RewardError` once it has taken `seconds`.

    A call that hangs is left running in a daemon thread: a thread cannot be stopped, and one that never
    releases Python's global lock is not timed out either.
    """

    def __init__(self, model: RewardModel, *, seconds: float) -> None:
        self._model, self._seconds = model, seconds

    def score(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
        """See `RewardModel.score`."""
        scores: list[float] = []
        errors: list[Exception] = []

        def work() -> None:
            try:
                scores.extend(self._model.score(prompts, responses))
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=work, name="reward", daemon=True)
        thread.start()
        thread.join(self._seconds)
        if thread.is_alive():
            raise RewardError(
                f"the reward model did not score {len(responses)} responses within {self._seconds:g} s "
                "(reward.timeout)"
            )
        if errors:
            raise errors[0]
        return scores
