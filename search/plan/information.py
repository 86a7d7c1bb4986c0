"""Where one more trial would tell most about two splits, for the work that it takes."""

from __future__ import annotations

import numpy as np

from search.fit.ensemble import Ensemble
from search.fit.models import Points, labelling_of
from search.fit.observations import Floats

# Parts of the average that weigh less than this do not move the choice.
MINOR = 0.01


def gap_variance(ensemble: Ensemble, pair: Points, at: Points, seeds: int) -> tuple[float, Floats]:
    """Variance of the gap between the two splits of `pair`: now, and expected after a trial at each of `at`.

    A trial adds `seeds` trainings with random prompts. Within each part of the average an observation adds
    to the precision of the coefficients (Sherman and Morrison), and at the splits themselves it also tells
    their lack of fit. What the parts disagree about is left out: it cannot be known beforehand.
    """
    (had, _), (pair_had, _) = ensemble.own(at), ensemble.own(pair)
    hits = (at.prompts[:, None] == pair.prompts) & (at.responses[:, None] == pair.responses)
    hits &= labelling_of(at)[:, None] == labelling_of(pair)
    now, after = 0.0, np.zeros(len(had))
    for member in ensemble.members:
        rows = member.model.design(at, ensemble.observed)
        ends = member.model.design(pair, ensemble.observed)
        for solution, share in zip(member.solutions, member.shares, strict=True):
            weight = member.weight * share * solution.scale**2
            if member.weight * share < MINOR:
                continue
            known, ratio = solution.covariance, solution.ratio
            now += weight * float(_gap(ends, known[None], ratio, pair_had[None])[0])
            added = _precision(ratio, had + seeds) - _precision(ratio, had)
            moved = rows @ known
            pulled = added / (1 + added * np.einsum("ij,ij->i", moved, rows))
            then = known - pulled[:, None, None] * moved[:, :, None] * moved[:, None, :]
            after += weight * _gap(ends, then, ratio, pair_had + seeds * hits)
    return now, after


def _gap(ends: Floats, covariance: Floats, ratio: float, seeds: Floats) -> Floats:
    """Variance of the gap in units of a seed's, for each covariance [cases, p, p] and seeds [cases, 2]."""
    by_model = 1 / (1 + ratio * seeds)
    contrast = by_model[:, :1] * ends[0] - by_model[:, 1:] * ends[1]
    return np.asarray(
        np.einsum("ci,cij,cj->c", contrast, covariance, contrast) + ratio * by_model.sum(axis=1)
    )


def _precision(ratio: float, seeds: Floats) -> Floats:
    """Of a trial's mean about the model, in units of a seed's: 0 without seeds."""
    return np.asarray(seeds / (ratio * seeds + 1))
