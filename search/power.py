"""How many more seeds would separate two splits."""

from __future__ import annotations

from math import ceil

from scipy import stats

from search.fit import Fit
from search.forecast import Forecast

CONFIDENCE, POWER = 0.95, 0.8
BEYOND_REASON = 10_000


def more_seeds(fit: Fit, forecast: Forecast, first: int, second: int) -> int | None:
    """Seeds to add to each of two splits so that their gap, if as large as predicted, shows.

    Normal approximation: with variance V of the gap now and seed variance s2, m seeds each leave
    1 / (1/V + m / (2 s2)), and that has to be (gap / (z(0.95) + z(0.8)))**2. None above 10,000, or where
    the noise of a seed is unknown.
    """
    gap = float(forecast.mean[first] - forecast.mean[second])
    noise = fit.ensemble.seed_variance if fit.ensemble else fit.observed.noise_variance
    now = forecast.gap_variance(first, second)
    if noise is None or gap <= 0 or now <= 0:
        return None
    wanted = (stats.norm.ppf(CONFIDENCE) + stats.norm.ppf(POWER)) ** 2 / gap**2
    seeds = ceil(2 * noise * max(wanted - 1 / now, 0))
    return max(seeds, 1) if seeds <= BEYOND_REASON else None
