"""What earlier trials predicted of a study's own, beside what came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from base.errors import InsufficientDataError
from search.config.scale import RewardScale, ScaleName
from search.fit.fit import fit_trials
from search.fit.models import Points
from search.trials.record import TrialRecord

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Check:
    """One trial of this study, predicted from the earlier trials alone: the mean reward of its seeds."""

    label: str
    seeds: int
    predicted: float
    interval_95: tuple[float, float]
    observed: float
    scale: RewardScale = field(repr=False, compare=False)

    @property
    def held(self) -> bool:
        """Whether what came lies within the interval."""
        low, high = self.interval_95
        return low <= self.observed <= high

    def sentence(self) -> str:
        text, (low, high) = self.scale.text, self.interval_95
        mean = "one seed" if self.seeds == 1 else f"a mean of {self.seeds} seeds"
        return (
            f"{self.label}: predicted {text(self.predicted)} (95% {text(low)} to {text(high)} for {mean}), "
            f"observed {text(self.observed)}{'' if self.held else ': outside'}"
        )

    def to_dict(self) -> dict[str, Any]:
        """As kept in recommendation.json."""
        return {**asdict(self), "held": self.held} | {"scale": self.scale.name}


def check_predictions(records: Sequence[TrialRecord], scale: ScaleName = "unit") -> tuple[Check, ...]:
    """Each of the study's own trials in `records` as the earlier ones alone predict it, by the default fit.

    None where there are none of either kind, or where the earlier trials identify no line. Intervals are
    those of the mean over the trial's own seeds, their noise included.
    """
    earlier = [r for record in records if not record.group and (r := record.with_seeds(record.earlier))]
    own = [r for record in records if (r := record.with_seeds(set(record.seeds) - set(record.earlier)))]
    if not own or not earlier:
        return ()
    try:
        fit = fit_trials(earlier, scale)
    except InsufficientDataError:
        return ()
    levels = fit.observed.levels
    own = [record for record in own if levels[0] <= record.responses <= levels[-1]]
    if fit.ensemble is None or fit.observed.noise_variance is None or not own:
        return ()
    at = Points.at([record.split for record in own], [record.diversity for record in own])
    forecast = fit.ensemble.forecast(at, np.array([len(record.seeds) for record in own], float))
    low, high = (fit.scale.clip(bound) for bound in forecast.interval(LEVEL))
    means = fit.scale.clip(forecast.mean)
    return tuple(
        Check(
            label=record.point.label,
            seeds=len(record.seeds),
            predicted=float(means[i]),
            interval_95=(float(low[i]), float(high[i])),
            observed=record.reward,
            scale=fit.scale,
        )
        for i, record in enumerate(own)
    )


def verdict(checks: Sequence[Check]) -> str:
    """How many predictions held, in a sentence; "" without any."""
    if not checks:
        return ""
    held = sum(check.held for check in checks)
    return (
        f"The earlier trials alone predicted {held} of this study's {len(checks)} trials within their 95% "
        f"intervals."
    )
