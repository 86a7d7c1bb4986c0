"""A reward model that hangs, raises or takes its time."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest

from base.errors import RewardError
from metrics.reward.timed import TimedReward
from pools.types import Prompt

PROMPTS = [Prompt("a"), Prompt("b")]


class Slow:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def score(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
        time.sleep(self._seconds)
        if "bad" in responses:
            raise RewardError("score 1 is nan")
        return [0.5] * len(responses)


def test_scores_and_errors_come_through() -> None:
    model = TimedReward(Slow(0), seconds=10)
    assert model.score(PROMPTS, ["x", "y"]) == [0.5, 0.5]
    with pytest.raises(RewardError, match="score 1 is nan"):
        model.score(PROMPTS, ["x", "bad"])


def test_what_hangs_is_left_behind() -> None:
    started = time.monotonic()
    with pytest.raises(RewardError, match=r"did not score 2 responses within 0\.1 s \(reward\.timeout\)"):
        TimedReward(Slow(3), seconds=0.1).score(PROMPTS, ["x", "y"])
    assert time.monotonic() - started < 2
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "reward")
