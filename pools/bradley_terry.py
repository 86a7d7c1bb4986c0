"""Bradley and Terry's model (1952) of responses that are compared two at a time, many prompts at once.

P(a is preferred to b) = sigmoid(s_a - s_b), with a normal prior around 0 on each strength s. `wins`
[..., k, k] holds how often each row was preferred to each column; a tie is half a win for either.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
_STEPS, _STEP_LIMIT, _TOLERANCE = 50, 2.0, 1e-8


def most_probable(wins: Floats, *, prior_variance: float) -> Floats:
    """The most probable strengths [..., k]; each group that comparisons connect lies around 0."""
    strengths = np.zeros(wins.shape[:-1])
    for _ in range(_STEPS):
        if np.abs(_slope(wins, strengths, prior_variance)).max(initial=0) < _TOLERANCE:
            break
        strengths = newton_step(wins, strengths, prior_variance=prior_variance)
    return strengths


def newton_step(wins: Floats, strengths: Floats, *, prior_variance: float) -> Floats:
    """Strengths [..., k] one bounded step of Newton's nearer to the most probable ones."""
    slope = _slope(wins, strengths, prior_variance)
    step = np.linalg.solve(curvature(wins, strengths, prior_variance=prior_variance), slope[..., None])
    moved: Floats = strengths + np.clip(step[..., 0], -_STEP_LIMIT, _STEP_LIMIT)
    return moved


def curvature(wins: Floats, strengths: Floats, *, prior_variance: float) -> Floats:
    """The inverse [..., k, k] of the strengths' covariance where the posterior is taken for normal."""
    likely = _preferred(strengths)
    return laplacian((wins + wins.swapaxes(-1, -2)) * likely * (1 - likely), prior_variance=prior_variance)


def laplacian(information: Floats, *, prior_variance: float) -> Floats:
    """The curvature [..., k, k] that information on each pair's lead, symmetric, and the prior come to."""
    own = information.sum(-1) + 1 / prior_variance
    found: Floats = own[..., None] * np.eye(information.shape[-1]) - information
    return found


def _slope(wins: Floats, strengths: Floats, prior_variance: float) -> Floats:
    games = wins + wins.swapaxes(-1, -2)
    slope: Floats = (wins - games * _preferred(strengths)).sum(-1) - strengths / prior_variance
    return slope


def _preferred(strengths: Floats) -> Floats:
    lead = strengths[..., :, None] - strengths[..., None, :]
    likely: Floats = 1 / (1 + np.exp(-lead))
    return likely
