"""Is it diversity, or merely the number of prompts? Only trials that vary one without the other can say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from search.fit.evidence import FitRow
from search.fit.observations import Floats, Observations

Verdict = Literal["diversity", "count", "confounded"]
LEVEL = 0.05
# Trials about their split's line say how much trials scatter beyond their seeds, once there are this many.
ENOUGH_TRIALS = 3
LENGTH, LENGTH_APART = "mean_prompt_tokens", 0.05


@dataclass(frozen=True)
class DiversityEffect:
    """Partial effect of D at fixed prompts and responses (reward per unit of D), and the verdict."""

    verdict: Verdict
    slope: float | None
    interval_95: tuple[float, float] | None
    p_value: float | None
    sentence: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def diversity_effect(observed: Observations, table: Callable[[], Sequence[FitRow]]) -> DiversityEffect:
    """Compare trials of one split that differ in selection alone.

    Only differences within a split enter, so neither the shape of reward in the number of prompts nor
    that in responses can pass for an effect of diversity. `table` is asked for left-out errors only
    where no split was so varied.
    """
    x, y, cells = _within(observed)
    spare = len(y) - cells - 1
    if not np.any(x) or spare + observed.noise_df < 1:
        return DiversityEffect("confounded", None, None, None, _confounded(table()))
    slope = float(x @ y / (x @ x))
    squares = float(np.sum((y - slope * x) ** 2))
    scatters = [(squares + observed.scatter.sum(), spare + observed.noise_df)]
    if spare >= ENOUGH_TRIALS:
        scatters.append((squares, spare))
    # The more cautious of the two: subsets may differ by more than their seeds do.
    reach, p = max(_error(slope, np.sqrt(total / df / (x @ x)), df) for total, df in scatters)
    return _judge(slope, (slope - reach, slope + reach), p, _length_caution(observed))


def _within(observed: Observations) -> tuple[Floats, Floats, int]:
    """D and reward about their split's means, scaled to one seed's noise, in the splits with several D."""
    x, y, cells = [], [], 0
    kinds = observed.prompts, observed.responses, observed.labelling, observed.group
    for n, k, labelling, group in dict.fromkeys(zip(*kinds, strict=True)):
        split = (observed.prompts == n) & (observed.responses == k) & (observed.labelling == labelling)
        here = observed.keep(split & (observed.group == group))
        if np.ptp(here.diversity) > 1e-9 * observed.diversity.max():
            x.append(_centred(here.diversity, here.seeds))
            y.append(_centred(here.reward, here.seeds))
            cells += 1
    return np.concatenate([*x, []]), np.concatenate([*y, []]), cells


def _centred(values: Floats, seeds: Floats) -> Floats:
    return np.asarray((values - np.average(values, weights=seeds)) * np.sqrt(seeds))


def _error(slope: float, error: float, df: float) -> tuple[float, float]:
    """Half the width of the 95% interval, and the two-sided p-value."""
    if error == 0:
        return 0.0, float(slope == 0)
    p = 2 * stats.t.sf(abs(slope) / error, df)
    return float(stats.t.ppf(1 - LEVEL / 2, df) * error), float(p)


def _length_caution(observed: Observations) -> str:
    """A warning where the compared subsets also differ in prompt length, which D rewards without merit."""
    lengths, most = observed.baselines.get(LENGTH), 0.0
    if lengths is None:
        return ""
    for n, k in set(zip(observed.prompts, observed.responses, strict=True)):
        here = lengths[(observed.prompts == n) & (observed.responses == k)]
        most = max(most, float(np.ptp(here) / here.mean()) if here.mean() else 0.0)
    return f" Their mean prompt length differs too, by up to {most:.0%}." if most > LENGTH_APART else ""


def _judge(slope: float, interval: tuple[float, float], p: float, caution: str) -> DiversityEffect:
    low, high = interval
    figures = f"{slope:+.4f} reward per unit of D at fixed prompts, 95% interval {low:+.4f} to {high:+.4f}"
    verdict: Verdict = "diversity" if p < LEVEL and slope > 0 else "count"
    if verdict == "diversity":
        text = f"Diversity itself is supported: {figures} (p = {p:.2g})."
    elif p < LEVEL:
        text = f"Diversity is not supported: more of it at fixed prompts went with less reward ({figures})."
    else:
        text = f"No effect of diversity beyond the number of prompts was found ({figures}, p = {p:.2g})."
    return DiversityEffect(verdict, slope, interval, p, text + caution)


def _confounded(table: Sequence[FitRow]) -> str:
    errors: dict[str, float] = {}
    for row in table:
        errors[row.predictor] = min(row.loo_rmse, errors.get(row.predictor, np.inf))
    both = ""
    if {"diversity", "log prompts"} <= errors.keys():
        both = f" (left-out error {errors['diversity']:.4f} on D, {errors['log prompts']:.4f} on log prompts)"
    return (
        f"These trials cannot tell diversity from the mere number of prompts{both}: no split was trained "
        "on prompts of different diversity. Run trials with selection diverse and narrow at one split."
    )
