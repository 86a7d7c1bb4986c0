"""The default predictor: an average of the candidate models, weighted by how they predict left-out trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from search.fit.forecast import Forecast
from search.fit.least_squares import Solution, ratios, solve_each
from search.fit.models import PREDICTORS, STRUCTURES, Model, Points, labelling_of
from search.fit.observations import Floats, Observations

NEGLIGIBLE = 1e-3


@dataclass(frozen=True)
class Member:
    """One model of the average, with its fits at each ratio of lack of fit and what they weigh."""

    model: Model
    weight: float
    solutions: tuple[Solution, ...]
    shares: Floats  # of the solutions; sum 1


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Predicts the expected reward at any split. Weights of members sum to 1."""

    observed: Observations
    members: tuple[Member, ...]

    def forecast(self, at: Points, seeds: Floats | float = np.inf, *, own: bool = True) -> Forecast:
        """Joint belief about expected rewards at `at`; with `seeds`, about means of so many new trainings.

        Lack of fit is new at each point. At a split that was tried with random prompts the trial's own mean
        says how far it lies off the model (best linear unbiased prediction): enough seeds of a split decide
        about it even where no model fits. Without `own` the models alone speak, which are smooth.
        """
        noise = np.broadcast_to(1 / np.asarray(seeds, float), at.prompts.shape)
        weights, means, covariances, dfs = [], [], [], []
        tried, reward = self.own(at)
        tried = tried * own
        for member in self.members:
            design = member.model.design(at, self.observed)
            for solution, share in zip(member.solutions, member.shares, strict=True):
                if member.weight * share < NEGLIGIBLE:
                    continue
                by_model = 1 / (1 + solution.ratio * tried)
                part = design * by_model[:, None]
                unscaled = part @ solution.covariance @ part.T + np.diag(solution.ratio * by_model + noise)
                weights.append(member.weight * share)
                means.append(part @ solution.coefficients + (1 - by_model) * reward)
                covariances.append(solution.scale**2 * unscaled)
                dfs.append(solution.df)
        total = np.array(weights) / sum(weights)
        return Forecast(total, np.array(means), np.array(covariances), np.array(dfs))

    def own(self, at: Points) -> tuple[Floats, Floats]:
        """Seeds and mean reward of the random trial at each point: 0 where there is none, or several."""
        tried = self.observed
        same = (at.prompts[:, None] == tried.prompts) & (at.responses[:, None] == tried.responses)
        same &= tried.random & (labelling_of(at)[:, None] == tried.labelling)
        same &= same.sum(axis=1, keepdims=True) == 1
        return np.asarray(same @ tried.seeds), np.asarray(same @ tried.reward)

    @property
    def seed_variance(self) -> float:
        """Variance of one seed's reward about its expected reward, as the members estimate it."""
        parts = [
            member.weight * share * solution.scale**2
            for member in self.members
            for solution, share in zip(member.solutions, member.shares, strict=True)
        ]
        return float(sum(parts))


# A further model for the average, fitted to the trials.
Candidate: TypeAlias = Callable[[Observations], Member]


def fit_ensemble(observed: Observations, further: Sequence[Candidate] = ()) -> Ensemble | None:
    """Fit and weigh the candidate models, `further` ones too; None where the trials identify no line.

    Models in which more prompts lower the reward are among them: whoever labels may always label fewer.
    """
    if not observed.several_sizes:
        return None
    candidates = [Model(structure, x) for structure in STRUCTURES for x in PREDICTORS if _varies(x, observed)]
    candidates += [Model("no slope"), Model("peaked", "log prompts")]
    if observed.varies_labelling:
        candidates += [replace(model, apart=True) for model in candidates]
    fitted = [member for model in candidates if (member := _fit(model, observed)) is not None]
    fitted += [candidate(observed) for candidate in further]
    return Ensemble(observed, _weighed(fitted, observed)) if fitted else None


def _varies(predictor: str, observed: Observations) -> bool:
    return predictor != "diversity" or float(np.ptp(observed.diversity)) > 1e-9 * float(
        observed.diversity.max()
    )


def _fit(model: Model, observed: Observations) -> Member | None:
    prior = dict(ratios(observed))
    found = solve_each(model.design(Points.of(observed), observed), observed, list(prior))
    if not found:
        return None
    evidence = np.array([solution.likelihood + np.log(prior[solution.ratio]) for solution in found])
    return Member(model, 1.0, tuple(found), np.exp(evidence - np.logaddexp.reduce(evidence)))


def _weighed(members: list[Member], observed: Observations) -> tuple[Member, ...]:
    scores = np.array([left_out_score(member) for member in members])
    if not np.isfinite(scores).any():
        sizes = np.array([member.solutions[0].coefficients.size for member in members])
        scores = np.where(sizes == sizes.min(), 0.0, -np.inf)
    weights = np.exp(scores - np.logaddexp.reduce(scores))
    kept = [(m, w) for m, w in zip(members, weights, strict=True) if w >= NEGLIGIBLE]
    total = sum(w for _, w in kept)
    return tuple(Member(m.model, float(w / total), m.solutions, m.shares) for m, w in kept)


def left_out_score(member: Member) -> float:
    """Sum over trials of the log predictive density of the trial's mean reward, that trial left out."""
    scores = np.array([solution.log_score for solution in member.solutions])
    with np.errstate(divide="ignore"):  # a share may be 0 to the last digit
        weighed = scores + np.log(member.shares)[:, None]
    return float(np.logaddexp.reduce(weighed, axis=0).sum())


def direct_forecast(observed: Observations, at: Points) -> Forecast | None:
    """Belief about tried splits from their own random trials alone, where no line is identified.

    All trials pool their seeds' scatter; None where there is none, or where a split of `at` was not tried.
    """
    if observed.noise_variance is None:
        return None
    means, counts = [], []
    for n, k, labelling in zip(at.prompts, at.responses, labelling_of(at), strict=True):
        here = (observed.prompts == n) & (observed.responses == k) & (observed.labelling == labelling)
        here &= observed.random
        if not here.any():
            return None
        means.append(np.average(observed.reward[here], weights=observed.seeds[here]))
        counts.append(observed.seeds[here].sum())
    covariance = np.diag(observed.noise_variance / np.array(counts))
    return Forecast(np.ones(1), np.array([means]), covariance[None], np.array([observed.noise_df]))
