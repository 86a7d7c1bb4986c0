"""Strengths of responses and reliabilities of raters, each learnt with the other.

The model is that of Chen, Bennett, Collins-Thompson and Horvitz 2013 ("Pairwise ranking aggregation in a
crowdsourced setting", WSDM): rater j holds a above b with probability
    reliability_j * sigmoid(s_a - s_b) + (1 - reliability_j) * sigmoid(s_b - s_a),
Bradley and Terry's model (1952) where the reliability is 1, a guess where it is 0.5. Strengths have a normal
prior, reliabilities a beta prior. Unlike there, a rater is held against what the *others* say of the prompt,
so that few raters a prompt do not make each look reliable by their own votes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit

from annotation.ratings.votes import Floats, Indices, Votes
from pools.bradley_terry import laplacian, newton_step

PRIOR_SPREAD = 2.0  # standard deviation of a strength before any vote (logits)
PRIOR_RIGHT, PRIOR_WRONG = 4.0, 1.0  # votes that a rater is credited with beforehand
_ROUNDS, _TOLERANCE = 300, 1e-4


@dataclass(frozen=True)
class Strengths:
    """Of the responses of each prompt: `values` [prompts, width], `covariance` [prompts, width, width].

    Of the raters: `reliability` and its standard error `reliability_se` [raters].
    """

    values: Floats
    covariance: Floats
    reliability: Floats
    reliability_se: Floats


def fit_strengths(votes: Votes, *, learn_raters: bool = True) -> Strengths:
    """The most probable strengths; all raters have reliability 1 where they are not learnt.

    Covariances are inverses of the expected information with the prior's, at the reliabilities found.
    """
    raters = len(votes.raters)
    reliability = np.full(raters, _prior_mode() if learn_raters else 1.0)
    error = np.zeros(raters)
    values = np.zeros((len(votes.counts), votes.width))
    others = _Others(votes)
    rounds = _ROUNDS if learn_raters else _ROUNDS // 6
    for _ in range(rounds):
        before, old = values, reliability
        values = _step(votes, votes.prompt, reliability, values)
        if learn_raters:
            reliability, error = others.reliabilities(reliability)
        moved = max(np.abs(values - before).max(initial=0), np.abs(reliability - old).max(initial=0))
        if moved < _TOLERANCE:
            break
    return Strengths(values, _covariance(votes, votes.prompt, reliability, values), reliability, error)


def _prior_mode() -> float:
    return PRIOR_RIGHT / (PRIOR_RIGHT + PRIOR_WRONG)


def _leads(votes: Votes, row: Indices, values: Floats) -> Floats:
    return values[row, votes.better] - values[row, votes.worse]


def _right(reliability: Floats, lead: Floats) -> Floats:
    """How likely a vote was meant and not turned round, given the lead of the response that it names."""
    meant, turned = reliability * expit(lead), (1 - reliability) * expit(-lead)
    likely: Floats = meant / np.maximum(meant + turned, 1e-300)
    return likely


def _step(votes: Votes, row: Indices, reliability: Floats, values: Floats) -> Floats:
    """One round of expectation and maximisation: a bounded Newton step of the strengths [rows, width].

    `row` is which row of `values` each vote counts in.
    """
    right = votes.weight * _right(reliability[votes.rater], _leads(votes, row, values))
    wins = _summed(votes, row, right, values) + _summed(votes, row, votes.weight - right, values, turned=True)
    return newton_step(wins, values, prior_variance=PRIOR_SPREAD**2)


def _summed(votes: Votes, row: Indices, parts: Floats, values: Floats, turned: bool = False) -> Floats:
    """The parts [votes] summed by row, better and worse response, or the other way round."""
    rows, width = values.shape
    one, other = (votes.worse, votes.better) if turned else (votes.better, votes.worse)
    cell = (row * width + one) * width + other
    summed: Floats = np.bincount(cell, parts, rows * width * width).astype(np.float64)
    return summed.reshape(rows, width, width)


def _covariance(votes: Votes, row: Indices, reliability: Floats, values: Floats) -> Floats:
    """The inverse of the expected information on the strengths in votes that may be turned round."""
    known = expit(_leads(votes, row, values))
    sure = reliability[votes.rater]
    chance = sure * known + (1 - sure) * (1 - known)
    slope = (2 * sure - 1) * known * (1 - known)
    information = votes.weight * slope**2 / np.maximum(chance * (1 - chance), 1e-12)
    weights = _summed(votes, row, information, values)
    both = weights + weights.transpose(0, 2, 1)
    inverse = np.linalg.inv(laplacian(both, prior_variance=PRIOR_SPREAD**2))
    return np.asarray(inverse, np.float64)


class _Others:
    """For each rater and prompt, the strengths that the other raters' votes give, brought up step by step."""

    def __init__(self, votes: Votes) -> None:
        self._votes = votes
        width = len(votes.raters)
        pair = votes.prompt * width + votes.rater
        groups, self._group = np.unique(pair, return_inverse=True)
        self._seen, self._row = _votes_of_others(votes, groups // width, groups % width)
        self._values = np.zeros((len(groups), votes.width))

    def reliabilities(self, reliability: Floats) -> tuple[Floats, Floats]:
        """Reliabilities [raters] and their standard errors, one round on from those given."""
        votes, seen = self._votes, self._seen
        self._values = _step(seen, self._row, reliability, self._values)
        spread = _covariance(seen, self._row, reliability, self._values)
        known = expit(self._moderated(spread))
        own = reliability[votes.rater]
        right = votes.weight * own * known / (own * known + (1 - own) * (1 - known))
        chance = own * known + (1 - own) * (1 - known)
        information = votes.weight * (2 * known - 1) ** 2 / np.maximum(chance * (1 - chance), 1e-12)
        cast, kept, told = (
            np.bincount(votes.rater, part, len(votes.raters)) for part in (votes.weight, right, information)
        )
        found = (PRIOR_RIGHT + kept) / (PRIOR_RIGHT + PRIOR_WRONG + cast)
        mode = _prior_mode()
        beforehand = (PRIOR_RIGHT + PRIOR_WRONG) / (mode * (1 - mode))
        return found, 1 / np.sqrt(told + beforehand)

    def _moderated(self, covariance: Floats) -> Floats:
        """Leads in logits, drawn in for their uncertainty (MacKay 1992, "The evidence framework ...")."""
        votes, row = self._votes, self._group
        one, other = votes.better, votes.worse
        spread = covariance[row, one, one] + covariance[row, other, other] - 2 * covariance[row, one, other]
        drawn_in: Floats = _leads(votes, row, self._values) / np.sqrt(1 + np.pi * spread / 8)
        return drawn_in


def _votes_of_others(votes: Votes, prompts: Indices, raters: Indices) -> tuple[Votes, Indices]:
    """All votes on each group's prompt but those of its rater, and the group that each counts in."""
    order = np.argsort(votes.prompt, kind="stable")
    start = np.searchsorted(votes.prompt[order], np.arange(len(votes.counts) + 1))
    sizes = np.diff(start)[prompts]
    group = np.repeat(np.arange(len(prompts)), sizes)
    within = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    vote = order[start[prompts][group] + within] if len(group) else np.empty(0, np.int64)
    keep = votes.rater[vote] != raters[group]
    vote, group = vote[keep], group[keep]
    taken = replace(
        votes,
        prompt=votes.prompt[vote],
        better=votes.better[vote],
        worse=votes.worse[vote],
        rater=votes.rater[vote],
        weight=votes.weight[vote],
    )
    return taken, group
