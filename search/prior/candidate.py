"""Past studies as one more model of the average, weighed like the others by how it predicts left-out trials.

Where a study is unlike the past ones, its trials soon leave that model no weight.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.special import logsumexp

from search.fit.ensemble import Candidate, Member
from search.fit.least_squares import Solution
from search.fit.models import Model, Points
from search.fit.observations import Floats, Observations
from search.prior.hierarchy import NEGLIGIBLE, NORMAL, Prior, learn_prior, update
from search.prior.past_studies import past_studies
from search.prior.shape import SHARED_DF, Evidence

ANYWHERE = 1.0  # standard deviation of how much higher a group's rewards lie: as wide as their scale


def further_models(prior: Literal["none", "studies"]) -> tuple[Candidate, ...]:
    """What `search.prior` adds to the models of the fit."""
    return (from_past_studies(learn_prior(past_studies())),) if prior == "studies" else ()


def from_past_studies(prior: Prior) -> Candidate:
    """The candidate model whose shape is drawn from `prior`; rewards lie within [0, 1]."""
    model = Model("past studies")

    def fitted(observed: Observations) -> Member:
        design = model.design(Points.of(observed), observed)
        variance = _seed_variance(observed, prior)
        weighted = design.T * (observed.seeds / variance)
        found = Evidence(weighted @ design, weighted @ observed.reward, variance)
        means, covariances, log_likelihood = update(found, *_with_offsets(prior, len(observed.others)))
        log_shares = np.log(prior.weights) + log_likelihood
        shares = np.exp(log_shares - logsumexp(log_shares))
        kept = shares > NEGLIGIBLE
        solutions = tuple(
            _solution(design, observed, mean, covariance, variance)
            for mean, covariance in zip(means[kept], covariances[kept], strict=True)
        )
        return Member(model, 1.0, solutions, shares[kept] / shares[kept].sum())

    return fitted


def _with_offsets(prior: Prior, groups: int) -> tuple[Floats, Floats]:
    """The prior's means and covariances, and of each group of trials that it may lie anywhere."""
    means = np.pad(prior.means, ((0, 0), (0, groups)))
    covariances = np.pad(prior.covariances, ((0, 0), (0, groups), (0, groups)))
    last = np.arange(prior.means.shape[1], means.shape[1])
    covariances[:, last, last] = ANYWHERE**2
    return means, covariances


def _seed_variance(observed: Observations, prior: Prior) -> float:
    """Of one seed: the trials' own scatter, drawn towards that of past studies."""
    squares = float(observed.scatter.sum())
    return (squares + SHARED_DF * prior.seed_variance) / (observed.noise_df + SHARED_DF)


def _solution(
    design: Floats, observed: Observations, mean: Floats, covariance: Floats, variance: float
) -> Solution:
    """One part of the prior after the trials, each trial left out in turn by its leverage."""
    noise = variance / observed.seeds
    leverage = np.einsum("ij,jk,ik->i", design, covariance, design) / noise
    left_out = (observed.reward - design @ mean) / (1 - leverage)
    spread = noise / (1 - leverage)
    return Solution(
        coefficients=mean,
        covariance=covariance / variance,
        scale=float(np.sqrt(variance)),
        df=NORMAL,
        ratio=0.0,
        likelihood=0.0,  # the shares of the parts are known already
        left_out=left_out,
        log_score=-0.5 * (np.log(2 * np.pi * spread) + left_out**2 / spread),
    )
