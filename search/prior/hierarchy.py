"""A hierarchical model over past studies, and what it says of a study that nobody has run yet.

Each study has its own shape (four numbers, `search.prior.shape`), drawn from a normal distribution over
studies; mean and spread of that distribution are unknown. The spreads are averaged over a grid with
half-Cauchy priors (Gelman 2006, Bayesian Analysis 1(3), 515-534), everything else is closed form. With few
studies large spreads stay likely, and so the prediction for a new study is wide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from search.config.cost import Split
from search.config.scale import ScaleName
from search.fit.forecast import Forecast
from search.prior.past_studies import PastStudy, resized
from search.prior.shape import Evidence, Floats, evidence, rows, seed_variances, trials_evidence
from search.trials.record import TrialRecord

# Of level, gain per doubling of prompts, gain per doubling of responses, interaction; rewards within [0, 1].
MEAN = np.array([0.5, 0.0, 0.0, 0.0])
DEVIATION = np.array([0.5, 0.03, 0.06, 0.02])
SPREAD = np.array([0.05, 0.008, 0.015, 0.004])  # scale of the half-Cauchy prior of each spread over studies
GRID = np.array([0.1, 0.25, 0.6, 1.5, 4.0])  # spreads tried, in units of SPREAD
NEGLIGIBLE = 1e-4
USUAL_SPREAD = 0.12  # of the rewards of a published study, least to greatest
NORMAL = 1e6  # degrees of freedom at which a t distribution is a normal one


@dataclass(frozen=True, eq=False)
class Prior:
    """Belief about the shape of a study not yet seen: a mixture of C normal distributions.

    `seed_variance` is that of one seed's reward in it; `studies` are those that it was learnt from.
    """

    weights: Floats  # [C], sum 1
    means: Floats  # [C, 4]
    covariances: Floats  # [C, 4, 4]
    seed_variance: float
    studies: tuple[PastStudy, ...]

    def forecast(self, splits: Sequence[Split]) -> Forecast:
        """Joint belief about the expected rewards of `splits`."""
        x = rows(splits)
        return Forecast(
            self.weights, self.means @ x.T, x @ self.covariances @ x.T, np.full(len(self.weights), NORMAL)
        )

    @property
    def mean(self) -> Floats:
        """Expected shape."""
        return np.asarray(self.weights @ self.means)

    @property
    def covariance(self) -> Floats:
        """Of the shape, within and between the parts of the mixture."""
        apart = self.means - self.mean
        return np.asarray(
            np.tensordot(self.weights, self.covariances, 1) + (apart * self.weights[:, None]).T @ apart
        )

    def resized(self, size: float, centre: float = 0.0) -> Prior:
        """The same belief where rewards are `size` times as large, and `centre` more."""
        means = self.means * size
        means[:, 0] += centre
        return replace(
            self,
            means=means,
            covariances=self.covariances * size**2,
            seed_variance=self.seed_variance * size**2,
        )

    def given(self, records: Sequence[TrialRecord]) -> Prior:
        """The belief after trials of the very study, each part updated by Bayes' rule."""
        found = trials_evidence(records, self.seed_variance)
        means, shrunk, log_likelihood = update(found, self.means, self.covariances)
        weights = self.weights * np.exp(log_likelihood - log_likelihood.max())
        return replace(self, weights=weights / weights.sum(), means=means, covariances=shrunk)


def update(found: Evidence, means: Floats, covariances: Floats) -> tuple[Floats, Floats, Floats]:
    """Posterior mean [C, p] and covariance [C, p, p] of each part, and the trials' log-likelihood under it.

    `found` has as many coefficients, p. The log-likelihood [C] lacks a constant that all parts share.
    """
    inner = np.eye(means.shape[1]) + covariances @ found.precision
    shrunk = np.linalg.solve(inner, covariances)
    apart = found.weighted - means @ found.precision
    at_means = means @ found.weighted - 0.5 * np.einsum("ci,ij,cj->c", means, found.precision, means)
    moved = 0.5 * np.einsum("ci,cij,cj->c", apart, shrunk, apart)
    log_likelihood = at_means + moved - 0.5 * np.linalg.slogdet(inner)[1]
    updated = np.einsum("cij,cj->ci", shrunk, np.linalg.solve(covariances, means[..., None])[..., 0])
    return updated + shrunk @ found.weighted, np.asarray(shrunk), np.asarray(log_likelihood)


def learn_prior(studies: Sequence[PastStudy], *, over_base: bool = False) -> Prior:
    """The belief about the next study after `studies`; without any, the wide belief that it starts from.

    With `over_base` the level is a lift over the base model's reward.
    """
    variances = seed_variances(studies)
    found = [evidence(s, v, over_base=over_base) for s, v in zip(studies, variances, strict=True)]
    spreads = np.array(list(product(GRID, repeat=4))) * SPREAD
    start = np.where(np.arange(4) == 0, 0.0 if over_base else MEAN, MEAN)
    weights, means, covariances = _over_studies(found, spreads, start)
    kept = weights > NEGLIGIBLE
    between = spreads[kept, :, None] ** 2 * np.eye(4)
    return Prior(
        weights[kept] / weights[kept].sum(),
        means[kept],
        covariances[kept] + between,
        float(np.exp(np.mean(np.log(variances)))) if variances else 1e-4,
        tuple(studies),
    )


def learn_prior_on(scale: ScaleName, studies: Sequence[PastStudy], *, over_base: bool = False) -> Prior:
    """`learn_prior` for rewards on `scale`: that of `studies`, or percent where theirs is unit.

    Without bounds nothing says what a large difference is, so the priors are in units of the studies' own
    spread of rewards, as large against `USUAL_SPREAD` in the published ones.
    """
    if scale != "any":
        prior = learn_prior(studies, over_base=over_base)
        return prior.resized(100) if scale == "percent" else prior
    rewards = [reward for study in studies for record in study.records for reward in record.rewards]
    size = max(float(np.ptp(rewards)), 1e-12) / USUAL_SPREAD
    centre = 0.0 if over_base else float(np.mean(rewards)) - MEAN[0] * size
    return learn_prior([resized(s, size, centre) for s in studies], over_base=over_base).resized(size, centre)


def _over_studies(found: Sequence[Evidence], spreads: Floats, start: Floats) -> tuple[Floats, Floats, Floats]:
    """For each row of `spreads` [C, 4]: its weight, and mean and covariance of the mean over studies."""
    precision = np.tile(np.diag(1 / DEVIATION**2), (len(spreads), 1, 1))
    weighted = precision @ start
    log_weight = _log_prior(spreads) - 0.5 * start @ weighted[0]
    for each in found:
        # With the study's own shape integrated out: (I + A T)^-1 A and (I + A T)^-1 b for spreads T.
        inner = np.eye(4) + each.precision * spreads[:, None, :] ** 2
        precision = precision + np.linalg.solve(inner, np.broadcast_to(each.precision, inner.shape))
        apart = np.linalg.solve(inner, np.broadcast_to(each.weighted[:, None], (len(spreads), 4, 1)))[..., 0]
        weighted = weighted + apart
        log_weight += 0.5 * (apart * spreads**2) @ each.weighted - 0.5 * np.linalg.slogdet(inner)[1]
    covariances = np.linalg.inv(precision)
    means = np.einsum("cij,cj->ci", covariances, weighted)
    log_weight += 0.5 * (np.sum(weighted * means, axis=1) - np.linalg.slogdet(precision)[1])
    weights = np.exp(log_weight - log_weight.max())
    return np.asarray(weights / weights.sum()), np.asarray(means), np.asarray(covariances)


def _log_prior(spreads: Floats) -> Floats:
    """Half-Cauchy in each spread; the grid is even in its logarithm, so the density is times the spread."""
    scaled = spreads / SPREAD
    return np.asarray(np.sum(np.log(scaled) - np.log1p(scaled**2), axis=1))
