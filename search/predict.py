"""Predicted rewards of any splits whose prompts are drawn at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pools.errors import NoGroundError
from search.budget import Split
from search.curve import DiversityCurve
from search.ensemble import direct_forecast
from search.fit import Fit
from search.forecast import Forecast
from search.models import Points


def predict(fit: Fit, splits: Sequence[Split], curve: DiversityCurve) -> Forecast:
    """Joint belief about the expected rewards of `splits`, in their order.

    Where the trials identify no line only tried splits can be predicted, from their own seeds; otherwise
    NoGroundError says what to run.
    """
    at = Points(
        np.array([split.prompts for split in splits], float),
        np.array([split.responses for split in splits], float),
        np.array([curve.at(split.prompts)[0] for split in splits], float),
    )
    forecast = fit.ensemble.forecast(at) if fit.ensemble else direct_forecast(fit.observed, at)
    if forecast is None:
        raise NoGroundError(no_line(fit))
    return forecast


def no_line(fit: Fit) -> str:
    """Why there is no prediction, and what to run."""
    sizes = sorted({int(n) for n in fit.observed.prompts})
    named = ", ".join(f"{n:,}" for n in sizes[:6]) + (", ..." if len(sizes) > 6 else "")
    return (
        f"the {fit.observed.count} trials (prompts: {named}; {int(fit.observed.seeds.sum())} seeds in all) "
        "identify no line and hold no answer for this budget: run each number of responses at two or more "
        "spends, with two or more seeds"
    )
