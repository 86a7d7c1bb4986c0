"""What further trials are expected to gain: how much better the answer would be after them."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from search.fit.ensemble import Ensemble
from search.fit.models import Points, labelling_of
from search.fit.observations import Floats

# Parts of the average that weigh less than this do not move the choice.
MINOR = 0.01
# A variance of rewards that stands for none.
TINY = 1e-30


def expected_gains(ensemble: Ensemble, answers: Points, leads: Floats, at: Points, seeds: Floats) -> Floats:
    """Expected rise of the answer's reward by a trial at each of `at`, which adds its `seeds`, [trials].

    `leads` are how far the first of `answers` is predicted ahead of each other (reward, 0 or more). Another
    overtakes it where the trial moves their gap by more than that: the knowledge gradient of each pair
    (Frazier, Powell and Dayanik 2009), summed over the pairs. Rewards move as normal variables.
    """
    now, after = gap_variances(ensemble, answers, at, seeds)
    moves = np.sqrt(np.maximum(now - after, TINY))
    behind = -leads / moves
    density = np.exp(-(behind**2) / 2) / np.sqrt(2 * np.pi)
    return np.asarray((moves * (density + behind * ndtr(behind))).sum(axis=1))


def gap_variances(ensemble: Ensemble, answers: Points, at: Points, seeds: Floats) -> tuple[Floats, Floats]:
    """Variances of the gaps between the first of `answers` and each other, [others] and [trials, others].

    Now, and expected after a trial at each of `at`, which adds its `seeds` [trials], with random prompts.
    Within each part of the average an observation adds to the precision of the coefficients (Sherman and
    Morrison), and at the splits themselves it also tells their lack of fit. What the parts disagree about is
    left out: it cannot be known beforehand.
    """
    (had, _), (own, _) = ensemble.own(at), ensemble.own(answers)
    hits = (at.prompts[:, None] == answers.prompts) & (at.responses[:, None] == answers.responses)
    hits &= labelling_of(at)[:, None] == labelling_of(answers)
    then = own + seeds[:, None] * hits
    now, after = np.zeros(len(own) - 1), np.zeros((len(had), len(own) - 1))
    for member in ensemble.members:
        rows = member.model.design(at, ensemble.observed)
        ends = member.model.design(answers, ensemble.observed)
        for solution, share in zip(member.solutions, member.shares, strict=True):
            weight = member.weight * share * solution.scale**2
            if member.weight * share < MINOR:
                continue
            known, ratio = solution.covariance, solution.ratio
            added = _precision(ratio, had + seeds) - _precision(ratio, had)
            moved = rows @ known
            pulled = added / (1 + added * np.einsum("tp,tp->t", moved, rows))
            now += weight * _spread(ends, known, ratio, own[None])[0][0]
            before, contrast = _spread(ends, known, ratio, then)
            after += weight * (before - pulled[:, None] * np.einsum("top,tp->to", contrast, moved) ** 2)
    return now, after


def _spread(ends: Floats, covariance: Floats, ratio: float, seeds: Floats) -> tuple[Floats, Floats]:
    """Variances of the gaps [cases, others] in units of a seed's, and their contrasts [cases, others, p].

    `seeds` [cases, answers] are those that each answer's own trial has.
    """
    by_model = 1 / (1 + ratio * seeds)
    part = by_model[:, :, None] * ends
    contrast = part[:, 1:] - part[:, :1]
    lack = ratio * (by_model[:, 1:] + by_model[:, :1])
    return np.einsum("top,pq,toq->to", contrast, covariance, contrast, optimize=True) + lack, contrast


def _precision(ratio: float, seeds: Floats) -> Floats:
    """Of a trial's mean about the model, in units of a seed's: 0 without seeds."""
    return np.asarray(seeds / (ratio * seeds + 1))
