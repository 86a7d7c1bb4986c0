"""What the trials say for and against each model: the table of fits, and tests of the claims behind them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import statsmodels.api as sm
from scipy import stats

from search.fit.least_squares import FULL_LEVERAGE
from search.fit.models import PREDICTORS, Model, Points, Structure
from search.fit.observations import Floats, Observations

# Rivals that are predictors already.
SAME = ("prompts", "log_prompts")
TABLE: tuple[Structure, ...] = ("one line", "shared slope", "line per k", "saturating", "saturating lines")


@dataclass(frozen=True)
class FitRow:
    """One model fitted by weighted least squares; None where the trials are too few for the figure.

    `paper_mse` is the mean over k of the residual mean square of an unweighted line per k, as Song et
    al. report it; `loo_rmse` is the root mean square error at trials left out (reward).
    """

    model: str
    structure: str
    predictor: str
    coefficients: int
    aicc: float | None
    loo_rmse: float | None
    slopes: dict[str, tuple[float, float, float]]  # per k: slope, 95% interval

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def fit_table(observed: Observations) -> list[FitRow]:
    """All structures on all predictors that vary and that every trial reports, best left-out error first."""
    names = [*PREDICTORS, "prompts", *(name for name in observed.baselines if name not in SAME)]
    rows = [_row(Model(s, x), observed) for s in TABLE for x in names]
    found = [row for row in rows if row is not None]
    return sorted(found, key=lambda row: (row.loo_rmse is None, row.loo_rmse or 0.0, row.model))


def _row(model: Model, observed: Observations) -> FitRow | None:
    design = model.design(Points.of(observed), observed)
    if np.linalg.matrix_rank(_scaled(design)) < design.shape[1] or len(design) <= design.shape[1]:
        return None
    result = sm.WLS(observed.reward, design, weights=observed.seeds).fit()
    size, parameters = len(design), design.shape[1] + 1
    room = size - parameters - 1
    aicc = float(result.aic + 2 + 2 * parameters * (parameters + 1) / room) if room > 0 else None
    slopes = _slopes(model, observed, result)
    return FitRow(model.name, model.structure, model.predictor, design.shape[1], aicc, _loo(result), slopes)


def _scaled(design: Floats) -> Floats:
    return np.asarray(design / np.maximum(np.abs(design).max(axis=0), 1e-300))


def _loo(result: Any) -> float | None:
    leverage = np.sum(np.linalg.qr(result.model.wexog)[0] ** 2, axis=1)
    if leverage.max() > FULL_LEVERAGE:
        return None
    return float(np.sqrt(np.mean((result.resid / (1 - leverage)) ** 2)))


def _slopes(model: Model, observed: Observations, result: Any) -> dict[str, tuple[float, float, float]]:
    rows = model.slope_rows(observed)
    test = result.t_test(rows)
    bounds = np.atleast_2d(test.conf_int())
    found = zip(observed.levels, np.atleast_1d(test.effect), bounds, strict=True)
    return {str(k): (float(slope), float(low), float(high)) for k, slope, (low, high) in found}


def paper_mse(observed: Observations, predictor: str) -> float | None:
    """Song et al.'s figure: an ordinary line per k, its mean squared residual, averaged over k.

    None where some k has fewer than three distinct values of the predictor: two always lie on a line.
    """
    errors = []
    for k in observed.levels:
        part = observed.keep(observed.responses == k)
        design = Model("one line", predictor).design(Points.of(part), part)
        if len(np.unique(design[:, 1])) < 3:
            return None
        errors.append(float(np.mean(sm.OLS(part.reward, design).fit().resid ** 2)))
    return float(np.mean(errors))


@dataclass(frozen=True)
class Test:
    """A test of one claim: statistic, its p-value, and what that means in a sentence."""

    name: str
    statistic: float | None
    p_value: float | None
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def lack_of_fit(observed: Observations, model: Model) -> Test:
    """Is `model` good enough? F test of its residuals against the scatter of the seeds."""
    design = model.design(Points.of(observed), observed)
    spare = len(design) - design.shape[1]
    noise = observed.noise_variance
    if noise is None:
        return Test(
            "lack of fit",
            None,
            None,
            "Each trial has one seed, so noise and lack of fit cannot be told apart.",
        )
    if spare < 1:
        return Test("lack of fit", None, None, f"Too few trials to test {model.name}.")
    if noise == 0:
        return Test(
            "lack of fit", None, None, "All seeds of a trial agree to the last digit: they measure no noise."
        )
    result = sm.WLS(observed.reward, design, weights=observed.seeds).fit()
    ratio = float(np.sum(observed.seeds * result.resid**2) / spare / noise)
    p = float(stats.f.sf(ratio, spare, observed.noise_df))
    fits = (
        "is as straight as the seeds' noise lets us see"
        if p >= 0.05
        else "misses the trials by more than their noise"
    )
    return Test("lack of fit", ratio, p, f"{model.name.capitalize()} {fits} (F = {ratio:.2f}, p = {p:.2g}).")
