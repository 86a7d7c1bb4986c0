"""Which split to label with a budget, how sure that is, and when the trials give no ground to say."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np

from pools.errors import NoGroundError
from search.answer import Candidate, Recommendation
from search.budget import CostModel, Split
from search.compare import compare_costs
from search.curve import DiversityCurve
from search.fit import Fit
from search.forecast import Forecast
from search.mixed import mixed_split
from search.power import more_seeds
from search.predict import no_line, predict
from search.question import Question

CONFIDENCE = 0.95


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
    question = Question(budget, cost_model, curve, tuple(responses), max_prompts)
    splits = question.splits(fit)
    if not splits:
        raise NoGroundError(_nothing(fit, question))
    forecast = predict(fit, splits, curve)
    order = [int(i) for i in np.argsort(-forecast.mean, kind="stable")]
    return _answer(
        fit, question, [splits[i] for i in order], forecast.combine(np.eye(len(order))[order]), seed
    )


def _answer(
    fit: Fit, question: Question, splits: Sequence[Split], forecast: Forecast, seed: int
) -> Recommendation:
    """`splits` and `forecast` are best first."""
    candidates = _candidates(fit, question, splits, forecast, seed)
    best = candidates[0]
    better = forecast.probability(0, 1) if len(splits) > 1 else None
    flags = _flags(fit, best, better)
    larger = [k for k in question.responses if k > best.responses]
    return Recommendation(
        budget=question.budget,
        unit=question.cost_model.unit,
        splits=candidates,
        probability_better=better,
        flags=flags,
        more_seeds=more_seeds(fit, forecast, 0, 1) if flags["not_separated"] else None,
        try_responses=(min(larger) if larger else best.responses + 1) if flags["edge"] else None,
        mixed=mixed_split(fit, best.split, question),
        cost_models=tuple(compare_costs(fit, best.split, question)),
        max_prompts=question.max_prompts,
        trials=fit.observed.count,
        seeds=int(fit.observed.seeds.sum()),
        seed=seed,
        assumptions=_assumptions(fit),
    )


def _flags(fit: Fit, best: Candidate, better: float | None) -> dict[str, bool]:
    return {
        "edge": best.responses == fit.observed.levels[-1],
        "extrapolated": max(best.prompts_beyond, best.diversity_beyond) > 1 + 1e-9,
        "unidentified": fit.ensemble is None,
        "flat": fit.ensemble is not None and fit.ensemble.flat,
        "not_separated": better is not None and better < CONFIDENCE,
        "single_seed": fit.observed.noise_variance is None,
    }


def _candidates(
    fit: Fit, question: Question, splits: Sequence[Split], forecast: Forecast, seed: int
) -> tuple[Candidate, ...]:
    mean, chances = np.clip(forecast.mean, 0, 1), forecast.chances(seed)
    low, high = (np.clip(bound, 0, 1) for bound in forecast.interval())
    found = []
    for i, split in enumerate(splits):
        diversity = question.curve.at(split.prompts)[0]
        candidate = Candidate(
            prompts=split.prompts,
            responses=split.responses,
            cost=question.cost_model.cost(split.prompts, split.responses),
            diversity=diversity,
            predicted_reward=float(mean[i]),
            interval_95=(float(low[i]), float(high[i])),
            probability_best=float(chances[i]),
            prompts_beyond=split.prompts / float(fit.observed.prompts.max()),
            diversity_beyond=diversity / max(float(fit.observed.diversity.max()), 1e-300),
        )
        found.append(candidate)
    return tuple(found)


def _assumptions(fit: Fit) -> tuple[str, ...]:
    found = [
        "Reward is a reward model's mean score on held-out prompts, not people's judgement.",
        "Prompts are drawn at random from the same pool, and trained with the study's own settings.",
        "More prompts with the same responses never lower the expected reward.",
    ]
    if fit.observed.noise_variance is None:
        found.append("Each trial has one seed: all scatter about the models counts as noise.")
    return tuple(found)


def _nothing(fit: Fit, question: Question) -> str:
    known = question.known(fit)
    if not known:
        return (
            f"responses {sorted(set(question.responses))} were not tried; the trials hold "
            f"{list(fit.observed.levels)}: run trials with those numbers of responses"
        )
    least = min(question.cost_model.cost_per_prompt(k) for k in known)
    if question.budget < least:
        unit = question.cost_model.unit
        return f"budget {question.budget:g} {unit} buys no prompt; one costs at least {least:g}"
    return no_line(fit)
