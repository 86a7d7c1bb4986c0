"""How far a Bradley-Terry model's probabilities hold on pairs that it was not fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit

from metrics.reward.bradley_terry import Vector

BINS = 10
_WIDEST = 10.0  # of log(temperature): beyond it a probability is 0.5 or 1 whatever the margin


@dataclass(frozen=True)
class Calibration:
    """P(a is better than b) = sigmoid((value of a - value of b) / `temperature`).

    `log_loss` (natural logarithm; 0.693 is that of a coin) and expected calibration `error` (Guo et al. 2017,
    arXiv 1706.04599, section 3: ten bins) are of temperatures fitted on other prompts than those they judge.
    """

    temperature: float
    log_loss: float
    error: float


def calibrate(margins: Sequence[Vector]) -> Calibration:
    """From the margins of the better over the worse answer in each part of the prompts, held out in turn."""
    everything = np.concatenate(margins)
    scaled = [
        part / temperature(np.concatenate([*margins[:fold], *margins[fold + 1 :]]))
        for fold, part in enumerate(margins)
    ]
    known = np.concatenate(scaled)
    return Calibration(
        temperature=temperature(everything),
        log_loss=float(np.logaddexp(0.0, -known).mean()),
        error=_error(expit(np.abs(known)), 0.5 + 0.5 * np.sign(known)),
    )


def temperature(margins: Vector) -> float:
    """What to divide `margins` by for the least log-loss (temperature scaling, Guo et al. 2017)."""
    found = minimize_scalar(
        lambda log: np.logaddexp(0.0, -margins * np.exp(-log)).mean(),
        bounds=(-_WIDEST, _WIDEST),
        method="bounded",
    )
    return float(np.exp(found.x))


def _error(confidence: Vector, right: Vector) -> float:
    """Mean over bins of equal width, weighted by their pairs, of |share right - mean confidence|."""
    bins = np.minimum(((confidence - 0.5) * 2 * BINS).astype(int), BINS - 1)
    return float(np.abs(np.bincount(bins, right - confidence, BINS)).sum() / len(right))
