"""What the trials say for and against each model: the table of fits, and tests of the claims behind them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from search.fit.least_squares import Solution, ratios, solve_each
from search.fit.models import PREDICTORS, Model, Points, Structure, predictor_values
from search.fit.observations import Floats, Observations

# Baseline metrics that are predictors already.
SAME = ("prompts", "log_prompts")
TABLE: tuple[Structure, ...] = ("one line", "shared slope", "line per k", "saturating", "saturating lines")


@dataclass(frozen=True)
class FitRow:
    """One model fitted by weighted least squares; `aicc` is None where the trials are too few for it.

    `loo_rmse` is the root mean square error at trials left out (reward).
    """

    model: str
    structure: str
    predictor: str
    coefficients: int
    aicc: float | None
    loo_rmse: float
    slopes: dict[str, tuple[float, float, float]]  # per k: slope, 95% interval

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def fit_table(observed: Observations) -> list[FitRow]:
    """All structures on all predictors that vary and that every trial reports, best left-out error first."""
    names = [*PREDICTORS, "prompts", *(name for name in observed.baselines if name not in SAME)]
    rows = [_row(Model(s, x), observed) for s in TABLE for x in names]
    found = [row for row in rows if row is not None]
    return sorted(found, key=lambda row: (row.loo_rmse, row.model))


def _row(model: Model, observed: Observations) -> FitRow | None:
    design = model.design(Points.of(observed), observed)
    solution = likeliest(design, observed)
    if solution is None:
        return None
    return FitRow(
        model=model.name,
        structure=model.structure,
        predictor=model.predictor,
        coefficients=design.shape[1],
        aicc=_aicc(design, observed),
        loo_rmse=float(np.sqrt(np.mean(solution.left_out**2))),
        slopes=_slopes(model, observed, solution),
    )


def likeliest(design: Floats, observed: Observations) -> Solution | None:
    """The fit at the most believable ratio of lack of fit to seed noise; None as `solve`."""
    prior = dict(ratios(observed))
    found = solve_each(design, observed, list(prior))
    return max(found, key=lambda one: one.likelihood + np.log(prior[one.ratio]), default=None)


def _residual(design: Floats, observed: Observations) -> Floats:
    """Trial means about their weighted least squares, each times the root of its seeds."""
    root = np.sqrt(observed.seeds)
    coefficients = np.linalg.lstsq(design * root[:, None], observed.reward * root, rcond=None)[0]
    return np.asarray((observed.reward - design @ coefficients) * root)


def _aicc(design: Floats, observed: Observations) -> float | None:
    """Akaike's criterion for small samples (Hurvich and Tsai 1989), of normal errors weighted by seeds."""
    size, parameters = len(design), design.shape[1] + 1
    room = size - parameters - 1
    squares = float(np.sum(_residual(design, observed) ** 2))
    if room <= 0 or squares <= 0:
        return None
    minus_two_log = size * (np.log(2 * np.pi * squares / size) + 1) - np.log(observed.seeds).sum()
    return float(minus_two_log + 2 * parameters + 2 * parameters * (parameters + 1) / room)


def _slopes(
    model: Model, observed: Observations, solution: Solution
) -> dict[str, tuple[float, float, float]]:
    rows = model.slope_rows(observed)
    slopes = rows @ solution.coefficients
    errors = solution.scale * np.sqrt(np.einsum("ij,jk,ik->i", rows, solution.covariance, rows))
    reach = stats.t.ppf(0.975, solution.df) * errors
    found = zip(observed.levels, slopes, reach, strict=True)
    return {str(k): (float(b), float(b - r), float(b + r)) for k, b, r in found}


def paper_mse(observed: Observations, predictor: str) -> float | None:
    """Song et al.'s figure: an ordinary line per k, its mean squared residual, averaged over k.

    Trials that are labelled in another than the plainest way are left out. None where some k has fewer than
    three distinct values of the predictor: two always lie on a line.
    """
    errors = []
    own = observed.group == 0
    own &= observed.labelling == next(iter(observed.labellings), None)
    for k in observed.levels:
        part = observed.keep((observed.responses == k) & own)
        x = predictor_values(predictor, Points.of(part), part)
        if len(np.unique(x)) < 3:
            return None
        line = np.polyfit(x, part.reward, 1)
        errors.append(float(np.mean((part.reward - np.polyval(line, x)) ** 2)))
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
    ratio = float(np.sum(_residual(design, observed) ** 2) / spare / noise)
    p = float(stats.f.sf(ratio, spare, observed.noise_df))
    fits = (
        "is as straight as the seeds' noise lets us see"
        if p >= 0.05
        else "misses the trials by more than their noise"
    )
    return Test("lack of fit", ratio, p, f"{model.name.capitalize()} {fits} (F = {ratio:.2f}, p = {p:.2g}).")
