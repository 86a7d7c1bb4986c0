"""Which split to label with a budget, how sure that is, and when the trials give no ground to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any

import numpy as np

from pools.errors import NoGroundError
from search.budget import CostModel, Split, feasible_splits
from search.curve import DiversityCurve
from search.ensemble import direct_forecast
from search.fit import Fit
from search.forecast import Forecast
from search.models import Points
from search.power import more_seeds

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Candidate:
    """One feasible split with its predicted expected reward and how far it lies beyond the trials."""

    prompts: int
    responses: int
    cost: float
    diversity: float
    predicted_reward: float
    interval_95: tuple[float, float]
    probability_best: float
    prompts_beyond: float  # prompts / largest number tried; above 1 is extrapolation
    diversity_beyond: float  # D / largest D tried

    @property
    def split(self) -> Split:
        return Split(self.prompts, self.responses)


@dataclass(frozen=True)
class Recommendation:
    """The answer for one budget. Rewards are expected rewards within [0, 1]; splits are best first."""

    budget: float
    unit: str
    splits: tuple[Candidate, ...]
    probability_better: float | None  # recommended beats the runner-up; None with a single split
    flags: dict[str, bool]
    more_seeds: int | None  # further seeds for each of the two best that would separate them
    try_responses: int | None
    trials: int
    seeds: int
    seed: int
    assumptions: tuple[str, ...]

    @property
    def best(self) -> Candidate:
        return self.splits[0]

    @property
    def runner_up(self) -> Candidate | None:
        return self.splits[1] if len(self.splits) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """As kept in a study's recommendation.json; `probability_better` is that of the split it stands in."""
        runner = None
        if self.runner_up is not None and self.probability_better is not None:
            runner = asdict(self.runner_up) | {"probability_better": 1 - self.probability_better}
        return {
            "budget": self.budget,
            "unit": self.unit,
            "recommended": {"prompts": self.best.prompts, "responses": self.best.responses},
            "predicted_reward": self.best.predicted_reward,
            "interval_95": list(self.best.interval_95),
            "runner_up": runner,
            "probability_better": self.probability_better,
            "flags": self.flags,
            "more_seeds": self.more_seeds,
            "try_responses": self.try_responses,
            "splits": [asdict(split) for split in self.splits],
            "trials": self.trials,
            "seeds": self.seeds,
            "seed": self.seed,
            "assumptions": list(self.assumptions),
            "sentence": self.sentence(),
        }

    def sentence(self) -> str:
        """The answer in plain words."""
        best = self.best
        low, high = best.interval_95
        text = (
            f"With {self.budget:,.10g} {self.unit} label {best.split}: predicted reward "
            f"{best.predicted_reward:.3f} (95% interval {low:.3f} to {high:.3f})"
        )
        return " ".join([text + self._lead() + ".", *self._warnings()])

    def _lead(self) -> str:
        if self.runner_up is None or self.probability_better is None:
            return ", the only split that the budget and the trials allow"
        gap = self.best.predicted_reward - self.runner_up.predicted_reward
        return f", ahead of {self.runner_up.split} by {gap:.3f} (probability {self.probability_better:.2f})"

    def _warnings(self) -> list[str]:
        warnings = []
        if self.flags["not_separated"]:
            more = (
                f"about {self.more_seeds:,} more seeds of each would"
                if self.more_seeds
                else "no number of seeds will"
            )
            warnings.append(f"The two are not separated: {more} tell them apart.")
        if self.flags["edge"]:
            advice = f": try {self.try_responses}" if self.try_responses else ""
            warnings.append(f"Responses sit at the edge of what was tried{advice}.")
        if self.flags["extrapolated"]:
            warnings.append(
                f"This reaches beyond the trials: {self.best.prompts_beyond:.2g} times the prompts, "
                f"{self.best.diversity_beyond:.2g} times the diversity."
            )
        if self.flags["unidentified"]:
            warnings.append("Too few spends were tried for a line, so only tried splits are compared.")
        return warnings


def recommend(
    fit: Fit,
    *,
    budget: float,
    cost_model: CostModel,
    curve: DiversityCurve,
    responses: Sequence[int],
    max_prompts: int | None,
    seed: int,
) -> Recommendation:
    """The best split of `budget` among `responses` (what the pool holds) and up to `max_prompts` prompts.

    Only numbers of responses within those tried are predicted. Raises NoGroundError, saying what to run,
    where the budget buys nothing or the trials identify no prediction for it.
    """
    if not isfinite(budget) or budget <= 0:
        raise NoGroundError(f"budget {budget} {cost_model.unit} is not a positive number")
    tried = fit.observed.levels
    known = [k for k in responses if tried[0] <= k <= tried[-1]]
    splits = feasible_splits(cost_model, budget, responses=known, max_prompts=max_prompts)
    if not known or not splits:
        raise NoGroundError(_nothing_affordable(fit, budget, cost_model, responses, known))
    splits, forecast = _forecast(fit, splits, budget, cost_model, curve)
    return _assemble(fit, splits, forecast, budget, cost_model, curve, responses, seed)


def predict(fit: Fit, splits: Sequence[Split], curve: DiversityCurve) -> Forecast:
    """Joint belief about the expected rewards of any splits with random selection."""
    forecast = fit.ensemble.forecast(points_of(splits, curve)) if fit.ensemble else None
    forecast = forecast or direct_forecast(fit.observed, points_of(splits, curve))
    if forecast is None:
        raise NoGroundError(_unidentified(fit))
    return forecast


def points_of(splits: Sequence[Split], curve: DiversityCurve) -> Points:
    return Points(
        np.array([split.prompts for split in splits], float),
        np.array([split.responses for split in splits], float),
        np.array([curve.at(split.prompts)[0] for split in splits], float),
    )


def _forecast(
    fit: Fit, splits: list[Split], budget: float, cost_model: CostModel, curve: DiversityCurve
) -> tuple[list[Split], Forecast]:
    if fit.ensemble is None:
        splits = _tried_near(fit, budget, cost_model, [split.responses for split in splits])
    if not splits:
        raise NoGroundError(_unidentified(fit))
    return splits, predict(fit, splits, curve)


def _tried_near(fit: Fit, budget: float, cost_model: CostModel, responses: Sequence[int]) -> list[Split]:
    """The dearest tried split of each k that spends between 90% and all of the budget."""
    found: dict[int, Split] = {}
    for n, k in zip(fit.observed.prompts, fit.observed.responses, strict=True):
        split = Split(int(n), int(k))
        within = 0.9 * budget <= cost_model.cost(*_pair(split)) <= budget * (1 + 1e-12)
        if within and split.responses in responses:
            found[split.responses] = max(split, found.get(split.responses, split))
    return [found[k] for k in sorted(found)]


def _pair(split: Split) -> tuple[int, int]:
    return split.prompts, split.responses


def _assemble(
    fit: Fit,
    splits: Sequence[Split],
    forecast: Forecast,
    budget: float,
    cost_model: CostModel,
    curve: DiversityCurve,
    responses: Sequence[int],
    seed: int,
) -> Recommendation:
    low, high = (np.clip(bound, 0, 1) for bound in forecast.interval())
    mean, chances = np.clip(forecast.mean, 0, 1), forecast.chances(seed)
    order = [int(i) for i in np.argsort(-mean, kind="stable")]
    candidates = tuple(
        _candidate(fit, splits[i], cost_model, curve, (mean[i], low[i], high[i], chances[i])) for i in order
    )
    better = forecast.probability(order[0], order[1]) if len(order) > 1 else None
    best = candidates[0]
    edge = best.responses == fit.observed.levels[-1]
    larger = [k for k in responses if k > best.responses]
    unsure = better is not None and better < CONFIDENCE
    return Recommendation(
        budget=budget,
        unit=cost_model.unit,
        splits=candidates,
        probability_better=better,
        flags={
            "edge": edge,
            "extrapolated": max(best.prompts_beyond, best.diversity_beyond) > 1 + 1e-9,
            "unidentified": fit.ensemble is None,
            "not_separated": unsure,
            "single_seed": fit.observed.noise_variance is None,
        },
        more_seeds=more_seeds(fit, forecast, order[0], order[1]) if unsure else None,
        try_responses=(min(larger) if larger else best.responses + 1) if edge else None,
        trials=fit.observed.count,
        seeds=int(fit.observed.seeds.sum()),
        seed=seed,
        assumptions=_assumptions(fit),
    )


def _candidate(
    fit: Fit,
    split: Split,
    cost_model: CostModel,
    curve: DiversityCurve,
    figures: tuple[float, float, float, float],
) -> Candidate:
    mean, low, high, chance = (float(figure) for figure in figures)
    diversity = curve.at(split.prompts)[0]
    return Candidate(
        *_pair(split),
        cost=cost_model.cost(*_pair(split)),
        diversity=diversity,
        predicted_reward=mean,
        interval_95=(low, high),
        probability_best=chance,
        prompts_beyond=split.prompts / float(fit.observed.prompts.max()),
        diversity_beyond=diversity / max(float(fit.observed.diversity.max()), 1e-300),
    )


def _assumptions(fit: Fit) -> tuple[str, ...]:
    found = [
        "Reward is a reward model's mean score on held-out prompts, not people's judgement.",
        "Prompts are drawn at random from the same pool, and trained with the study's own settings.",
        "More prompts with the same responses never lower the expected reward.",
    ]
    if fit.observed.noise_variance is None:
        found.append("Each trial has one seed: all scatter about the models counts as noise.")
    return tuple(found)


def _nothing_affordable(
    fit: Fit, budget: float, cost_model: CostModel, responses: Sequence[int], known: Sequence[int]
) -> str:
    if not known:
        return (
            f"responses {sorted(set(responses))} were not tried; the trials hold {list(fit.observed.levels)}: "
            "run trials with those numbers of responses"
        )
    least = min(cost_model.cost(1, k) for k in known)
    return f"budget {budget:g} {cost_model.unit} buys no prompt; one costs at least {least:g}"


def _unidentified(fit: Fit) -> str:
    sizes = sorted({int(n) for n in fit.observed.prompts})
    return (
        f"{fit.observed.count} trials at {len(sizes)} sizes ({', '.join(f'{n:,}' for n in sizes[:6])} prompts) identify "
        "no line: run each number of responses at two or more spends, with two or more seeds"
    )
