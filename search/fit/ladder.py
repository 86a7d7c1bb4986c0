"""How the lead of each split over the advised one changes with the size of the model: a small hierarchy.

At size s the lead of split c over the advised one is

    (a_k + b_k x_s) K_c + (a_n + b_n x_s) N_c + u_c + w_c x_s

where K_c and N_c are how many doublings of responses and of prompts c has over the advised split, and x_s how
many decades of parameters s has over the study's own model. a is what a doubling is worth at the study's
size, b how that changes with a decade, and u and w are what is c's own. All are normal about 0 (`WORTH`,
`OWN`; b and w share a deviation, the levels of the hierarchy, over which the belief is averaged by its
evidence), so that one size says nothing of a trend, two say little, and a forecast widens away from what was
tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from search.config.cost import Split
from search.fit.forecast import Forecast
from search.fit.observations import Floats

WORTH = 0.1  # deviation of what a doubling is worth (reward of a scale from 0 to 1)
OWN = 0.005  # deviation of what is one split's own
# Deviations of how that changes over a decade of parameters: from hardly at all to by what it is.
TRENDS = tuple(np.geomspace(0.0005, 0.05, 9))


@dataclass(frozen=True, eq=False)
class Rung:
    """What is believed at one size: the leads of the same splits over the advised one."""

    parameters: float
    leads: Forecast


@dataclass(frozen=True, eq=False)
class Climb:
    """The belief at `parameters`: leads, and what a doubling of responses and of prompts is worth."""

    parameters: float
    leads: Forecast
    gains: Forecast
    extrapolated: bool


def climb(
    splits: Sequence[Split], own: float, rungs: Sequence[Rung], parameters: float, unit: float = 1.0
) -> Climb:
    """The forecast at `parameters`, from `rungs` at two or more sizes; `own` is that of the study's model.

    The first of `splits` is the advised one. `unit` is the width of the rewards' scale.
    """
    count = len(splits) - 1
    doublings = np.log2([[s.responses, s.prompts] for s in splits])
    doublings = doublings[1:] - doublings[0]
    decades = np.log10([rung.parameters / own for rung in rungs])
    design = np.concatenate([_rows(doublings, x) for x in decades])
    seen, noise = _observed([rung.leads for rung in rungs])
    at, parts = float(np.log10(parameters / own)), []
    for trend in TRENDS:
        deviations = np.r_[[WORTH] * 2, [OWN] * count, [trend] * (2 + count)] * unit
        parts.append(_posterior(design, seen, noise, np.diag(deviations**2)))
    evidence = np.array([part[2] for part in parts])
    weights = np.exp(evidence - logsumexp(evidence))
    means, covariances = (np.array([part[i] for part in parts]) for i in (0, 1))
    # The trials' own few degrees of freedom are what the belief can have at most.
    df = min(float(np.min(rung.leads.dfs)) for rung in rungs)
    belief = Forecast(weights, means, covariances, np.full(len(weights), df))
    sizes = [rung.parameters for rung in rungs]
    return Climb(
        parameters=parameters,
        leads=belief.combine(_rows(doublings, at)),
        gains=belief.combine(_rows(np.eye(2), at, count)),
        extrapolated=not min(sizes) <= parameters <= max(sizes),
    )


def _rows(doublings: Floats, decades: float, others: int | None = None) -> Floats:
    """What turns [a_k, a_n, u, b_k, b_n, w] into leads at so many decades; without u and w for `others`."""
    own = np.eye(len(doublings)) if others is None else np.zeros((len(doublings), others))
    level = np.column_stack([doublings, own])
    return np.column_stack([level, decades * level])


def _observed(leads: Sequence[Forecast]) -> tuple[Floats, Floats]:
    """Means of all leads, and their covariance: sizes are independent of each other."""
    size = leads[0].means.shape[1]
    noise = np.zeros((size * len(leads), size * len(leads)))
    for number, one in enumerate(leads):
        off = one.means - one.mean
        within = np.einsum("c,cij->ij", one.weights, one.covariances)
        block = within + np.einsum("c,ci,cj->ij", one.weights, off, off)
        at = slice(number * size, (number + 1) * size)
        noise[at, at] = block + 1e-12 * np.eye(size)
    return np.concatenate([one.mean for one in leads]), noise


def _posterior(design: Floats, seen: Floats, noise: Floats, prior: Floats) -> tuple[Floats, Floats, float]:
    """Mean and covariance of normal coefficients after `seen`, and the log evidence."""
    marginal = design @ prior @ design.T + noise
    gain = np.linalg.solve(marginal, design @ prior).T
    evidence = float(multivariate_normal.logpdf(seen, cov=marginal, allow_singular=True))
    covariance = prior - gain @ design @ prior
    return gain @ seen, (covariance + covariance.T) / 2, evidence
