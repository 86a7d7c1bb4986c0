"""The scale that rewards are on: what bounds it, what counts as a small difference, how it is printed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import floor, inf, log10
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

ScaleName: TypeAlias = Literal["unit", "percent", "any"]
Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True)
class RewardScale:
    """Bounds of a reward, the practical margin by default, and the decimals that a reward is printed with.

    `unit` is 0 to 1 and `percent` 0 to 100. `any` has no bounds (raw scores of a reward model, a judge's 1
    to 10), so nothing is clipped there.
    """

    name: ScaleName
    low: float
    high: float
    margin: float
    decimals: int

    def clip(self, rewards: Floats) -> Floats:
        """Rewards within the bounds, where there are any."""
        return np.clip(rewards, self.low, self.high)

    def holds(self, reward: float) -> bool:
        return self.low <= reward <= self.high

    def text(self, reward: float, more: int = 0, sign: bool = False) -> str:
        """A reward in words, with `more` decimals than usual."""
        plus = "+" if sign else ""
        return f"{reward:{plus}.{self.decimals + more}f}"


UNIT = RewardScale("unit", 0.0, 1.0, margin=0.002, decimals=3)
PERCENT = RewardScale("percent", 0.0, 100.0, margin=0.2, decimals=1)
# Share of the spread of the rewards that counts as a small difference where the scale has no unit.
SMALL = 0.01


def reward_scale(name: ScaleName, rewards: Iterable[float] = ()) -> RewardScale:
    """The scale `name`; for `any` the margin and the decimals follow the spread of `rewards`."""
    if name != "any":
        return UNIT if name == "unit" else PERCENT
    values = [reward for reward in rewards if np.isfinite(reward)]
    spread = float(np.ptp(values)) if values else 0.0
    decimals = max(0, 2 - floor(log10(spread))) if spread > 0 else 3
    return RewardScale("any", -inf, inf, margin=SMALL * spread, decimals=min(decimals, 9))


def guess_scale(rewards: Iterable[float]) -> ScaleName:
    """`unit` where every reward lies within 0 and 1; otherwise `any`, which assumes nothing."""
    return "unit" if all(0 <= reward <= 1 for reward in rewards) else "any"


def known_scale(name: str) -> ScaleName:
    """`name` as a scale; ValueError with the choices for any other word."""
    names: tuple[ScaleName, ...] = get_args(ScaleName)
    for known in names:
        if name == known:
            return known
    raise ValueError(f"scale {name!r} is none of {', '.join(names)}")
