"""By how much the rewards of each group of trials lie higher or lower than what is predicted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from search.config.scale import RewardScale
from search.fit.ensemble import Ensemble
from search.fit.forecast import Forecast


@dataclass(frozen=True)
class Offset:
    """How far a group's rewards lie above those that are predicted for this study (reward), estimated."""

    group: str
    amount: float
    interval_95: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self, scale: RewardScale) -> str:
        """The estimate in words, both ends of the interval in its direction."""
        sign, way = (-1, "lower") if self.amount < 0 else (1, "higher")
        low, high = (scale.text(end) for end in sorted(sign * end for end in self.interval_95))
        return (
            f"Trials of {self.group} lie {scale.text(abs(self.amount))} {way} (95% interval {low} to {high}) "
            "than is predicted for this study."
        )


def offsets(groups: tuple[str, ...], ensemble: Ensemble) -> tuple[Offset, ...]:
    """One for each of `groups`, the names of the numbers in `Observations.others`.

    Every model has these coefficients, its last ones; their estimates are averaged as predictions are.
    """
    if not groups:
        return ()
    parts = [
        (member.weight * share, solution)
        for member in ensemble.members
        for solution, share in zip(member.solutions, member.shares, strict=True)
    ]
    count = len(groups)
    belief = Forecast(
        np.array([weight for weight, _ in parts]),
        np.array([solution.coefficients[-count:] for _, solution in parts]),
        np.array([solution.scale**2 * solution.covariance[-count:, -count:] for _, solution in parts]),
        np.array([solution.df for _, solution in parts]),
    )
    low, high = belief.interval()
    return tuple(
        Offset(group, float(amount), (float(a), float(b)))
        for group, amount, a, b in zip(groups, belief.mean, low, high, strict=True)
    )
