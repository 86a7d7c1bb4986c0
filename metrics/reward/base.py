"""The protocol of reward models, and checks of what goes into and comes out of one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from base.errors import RewardError
from pools.types import Prompt


class RewardModel(Protocol):
    """Scores answers. Deterministic: the same pair gets the same score, whatever else is in the call."""

    def score(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
        """One finite score in [0, 1] for each pair `(prompts[i], responses[i])`; higher is better.

        An empty response is scored like any other; no pairs give no scores.
        Raises `RewardError` where lengths differ or a score cannot be computed.
        """
        ...


@dataclass(frozen=True)
class RewardSource:
    """What a reward model may be loaded from besides its configuration.

    `artifact` is the directory of a fitted head (None: there is none), `base_model` the directory or hub id
    of the model that the study trains, `device` where to score ("cpu", "cuda:0").
    """

    artifact: Path | None
    base_model: str
    device: str


def check_pairs(prompts: Sequence[Prompt], responses: Sequence[str]) -> None:
    """Raise `RewardError` unless there is one response for each prompt."""
    if len(prompts) != len(responses):
        raise RewardError(f"{len(prompts)} prompts were given with {len(responses)} responses; need one each")


def checked_scores(scores: Sequence[float], *, expected: int) -> list[float]:
    """The scores as floats; raises `RewardError` unless there are `expected`, each finite and in [0, 1]."""
    if len(scores) != expected:
        raise RewardError(f"the reward model returned {len(scores)} scores for {expected} responses")
    return [_checked(index, score) for index, score in enumerate(scores)]


def _checked(index: int, score: float) -> float:
    try:
        value = float(score)
    except (TypeError, ValueError):
        raise RewardError(f"score {index} is {score!r}, which is not a number in [0, 1]") from None
    if not math.isfinite(value) or not 0.0 <= value <= 1.0:
        raise RewardError(f"score {index} is {value!r}; scores must be finite and in [0, 1]")
    return value
