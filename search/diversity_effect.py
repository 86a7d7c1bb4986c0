"""Is it diversity, or merely the number of prompts? Answered only by trials that vary one at fixed other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from search.evidence import FitRow
from search.observations import Floats, Observations

Verdict = Literal["diversity", "count", "confounded"]
LEVEL = 0.05


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
    x, y, root, cells = _within(observed)
    df = len(y) - cells - 1 + observed.noise_df
    if not np.any(x) or df < 1:
        return DiversityEffect("confounded", None, None, None, _confounded(table()))
    slope = float(x @ y / (x @ x))
    squares = float(np.sum((y - slope * x) ** 2) + observed.scatter.sum())
    error = float(np.sqrt(squares / df / (x @ x)))
    p = float(2 * stats.t.sf(abs(slope) / error, df)) if error else 0.0
    reach = float(stats.t.ppf(1 - LEVEL / 2, df)) * error
    interval = (slope - reach, slope + reach)
    return _judge(slope, interval, p)


def _within(observed: Observations) -> tuple[Floats, Floats, Floats, int]:
    """D and reward about their split's weighted means, scaled to seed noise, in splits with several D."""
    x, y, root = np.zeros(observed.count), np.zeros(observed.count), np.sqrt(observed.seeds)
    used, cells = np.zeros(observed.count, bool), 0
    for n, k in sorted(set(zip(observed.prompts, observed.responses, strict=True))):
        cell = (observed.prompts == n) & (observed.responses == k)
        if np.ptp(observed.diversity[cell]) <= 1e-9 * observed.diversity.max():
            continue
        for source, target in ((observed.diversity, x), (observed.reward, y)):
            target[cell] = (source[cell] - np.average(source[cell], weights=observed.seeds[cell])) * root[
                cell
            ]
        used |= cell
        cells += 1
    return x[used], y[used], root[used], cells


def _judge(slope: float, interval: tuple[float, float], p: float) -> DiversityEffect:
    figures = f"{slope:+.4f} reward per unit of D at fixed prompts, 95% interval {interval[0]:+.4f} to {interval[1]:+.4f}"
    if p < LEVEL and slope > 0:
        return DiversityEffect(
            "diversity", slope, interval, p, f"Diversity itself is supported: {figures} (p = {p:.2g})."
        )
    if p < LEVEL:
        text = f"Diversity is not supported: more of it at fixed prompts went with less reward ({figures})."
        return DiversityEffect("count", slope, interval, p, text)
    text = f"No effect of diversity beyond the number of prompts was found ({figures}, p = {p:.2g})."
    return DiversityEffect("count", slope, interval, p, text)


def _confounded(table: Sequence[FitRow]) -> str:
    errors: dict[str, float] = {}
    for row in table:
        if row.loo_rmse is not None and row.structure == "line per k":
            errors[row.predictor] = row.loo_rmse
    both = ""
    if {"diversity", "log prompts"} <= errors.keys():
        both = f" (left-out error {errors['diversity']:.4f} on D, {errors['log prompts']:.4f} on log prompts)"
    return (
        f"These trials cannot tell diversity from the mere number of prompts{both}: no split was trained with "
        "prompts of different diversity. Run trials with selection diverse and narrow at the same split."
    )
