"""Weighted least squares of trial means with seed noise and lack of fit, scored with each trial left out."""

from __future__ import annotations

from collections.abc import Sequence
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
    return next(iter(solve_each(design, observed, [ratio])), None)


def solve_each(design: Floats, observed: Observations, ratios: Sequence[float]) -> list[Solution]:
    """`solve` at each ratio at once, without those at which it is None."""
    sizes = np.linalg.norm(design, axis=0)
    if len(design) <= design.shape[1] or sizes.min() == 0:
        return []
    variance = np.array(ratios)[:, None] + 1 / observed.seeds
    root = np.sqrt(variance)
    q, r = np.linalg.qr(design / sizes / root[:, :, None])
    diagonal = np.abs(np.diagonal(r, axis1=1, axis2=2))
    leverage = np.sum(q**2, axis=2)
    known = diagonal.min(axis=1) >= SINGULAR * diagonal.max(axis=1)
    known &= leverage.max(axis=1) <= FULL_LEVERAGE
    q, r, root, leverage = q[known], r[known], root[known], leverage[known]
    y = observed.reward / root
    turned = np.einsum("rnp,rn->rp", q, y)
    residual = y - np.einsum("rnp,rp->rn", q, turned)
    squares = np.maximum(np.sum(residual**2, axis=1) + observed.scatter.sum(), LEAST_SQUARES)
    df = len(design) - design.shape[1] + observed.noise_df
    inverse = np.linalg.inv(r) / sizes[:, None]
    logs = (
        np.log(variance[known]).sum(axis=1) + 2 * np.log(diagonal[known]).sum(axis=1) + df * np.log(squares)
    )
    scores = _log_score(observed, residual, leverage, squares, df, root)
    return [
        Solution(
            coefficients=inverse[i] @ turned[i],
            covariance=inverse[i] @ inverse[i].T,
            scale=float(np.sqrt(squares[i] / df)),
            df=df,
            ratio=ratios[at],
            likelihood=float(-0.5 * logs[i]),
            left_out=residual[i] / (1 - leverage[i]) * root[i],
            log_score=scores[i],
        )
        for i, at in enumerate(np.flatnonzero(known).tolist())
    ]


def _log_score(
    observed: Observations, residual: Floats, leverage: Floats, squares: Floats, df: float, root: Floats
) -> Floats:
    """[ratios, trials], as `Solution` has it."""
    rest = squares[:, None] - residual**2 / (1 - leverage) - observed.scatter
    rest_df = df - observed.seeds
    spread = np.sqrt(np.maximum(rest, 0) / np.maximum(rest_df, 1) / (1 - leverage)) * root
    with np.errstate(divide="ignore", invalid="ignore"):
        score = _log_t(residual / (1 - leverage) * root / spread, np.maximum(rest_df, 1)) - np.log(spread)
    return np.where((rest_df >= 1) & (spread > 0), score, -np.inf)


def _log_t(at: Floats, df: Floats) -> Floats:
    scale = gammaln((df + 1) / 2) - gammaln(df / 2) - 0.5 * np.log(df * np.pi)
    return np.asarray(scale - (df + 1) / 2 * np.log1p(at**2 / df))
