"""Weighted least squares of trial means with seed noise and lack of fit, scored with each trial left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import gammaln

from search.fit.observations import Floats, Observations

FULL_LEVERAGE = 1 - 1e-8
SINGULAR = 1e-9
# Lack-of-fit variance over seed variance: the grid that is averaged over, with its prior.
RATIOS = {0.0: 0.8, 0.1: 0.05, 0.3: 0.05, 1.0: 0.05, 3.0: 0.05}
# Rewards that lie exactly on a line leave rounding alone; below this nothing is told apart.
LEAST_SQUARES = 1e-18


@dataclass(frozen=True)
class Solution:
    """One model at one ratio of lack-of-fit variance to seed variance.

    A trial with r seeds has variance scale**2 x (ratio + 1/r) about the model, and scale**2, the seed
    variance, is estimated from the residuals and the seeds' own scatter together, with `df` degrees of
    freedom. So few seeds in one trial never make it look exact.
    """

    coefficients: Floats
    covariance: Floats  # of the coefficients, in units of scale**2
    scale: float
    df: float
    ratio: float
    likelihood: float  # restricted log-likelihood, comparable between ratios of one model
    left_out: Floats  # prediction error of each trial, the trial left out
    log_score: Floats  # log predictive density of each trial's mean, the trial left out


def ratios(observed: Observations) -> list[tuple[float, float]]:
    """Ratios of lack of fit to seed noise, each with its prior probability.

    Without repeated seeds the two cannot be told apart: all residual counts as noise.
    """
    return list(RATIOS.items()) if observed.noise_df else [(0.0, 1.0)]


def solve(design: Floats, observed: Observations, ratio: float) -> Solution | None:
    """Fit; None where the trials do not determine every coefficient, with each trial left out in turn."""
    sizes = np.linalg.norm(design, axis=0)
    if len(design) <= design.shape[1] or sizes.min() == 0:
        return None
    variance = ratio + 1 / observed.seeds
    root = np.sqrt(variance)
    q, r = np.linalg.qr(design / sizes / root[:, None])
    diagonal = np.abs(np.diag(r))
    if diagonal.min() < SINGULAR * diagonal.max():
        return None
    leverage = np.sum(q**2, axis=1)
    if leverage.max() > FULL_LEVERAGE:
        return None
    y = observed.reward / root
    residual = y - q @ (q.T @ y)
    squares = max(float(residual @ residual + observed.scatter.sum()), LEAST_SQUARES)
    df = len(y) - design.shape[1] + observed.noise_df
    inverse = np.linalg.inv(r) / sizes[:, None]
    return Solution(
        coefficients=inverse @ (q.T @ y),
        covariance=inverse @ inverse.T,
        scale=float(np.sqrt(squares / df)),
        df=df,
        ratio=ratio,
        likelihood=float(-0.5 * (np.log(variance).sum() + 2 * np.log(diagonal).sum() + df * np.log(squares))),
        left_out=residual / (1 - leverage) * root,
        log_score=_log_score(observed, residual, leverage, squares, df, root),
    )


def _log_score(
    observed: Observations, residual: Floats, leverage: Floats, squares: float, df: float, root: Floats
) -> Floats:
    rest = squares - residual**2 / (1 - leverage) - observed.scatter
    rest_df = df - observed.seeds
    spread = np.sqrt(np.maximum(rest, 0) / np.maximum(rest_df, 1) / (1 - leverage)) * root
    with np.errstate(divide="ignore", invalid="ignore"):
        score = _log_t(residual / (1 - leverage) * root / spread, np.maximum(rest_df, 1)) - np.log(spread)
    return np.where((rest_df >= 1) & (spread > 0), score, -np.inf)


def _log_t(at: Floats, df: Floats) -> Floats:
    scale = gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * np.log(df * np.pi)
    return np.asarray(scale - (df + 1) / 2 * np.log1p(at**2 / df))
