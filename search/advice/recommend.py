"""Which split to label with a budget, how sure that is, and when the trials give no ground to say."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isfinite

import numpy as np
from scipy import stats

from base.errors import InsufficientDataError
from search.advice.compare import compare_costs
from search.advice.mixed import mixed_split
from search.advice.recommendation import Candidate, Recommendation
from search.config.cost import CostModel, Split
from search.fit.curve import DiversityCurve
from search.fit.fit import Fit
from search.fit.forecast import Forecast
from search.fit.question import Question, no_line, predict

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
        raise InsufficientDataError(f"budget {budget} {cost_model.unit} is not a positive number")
    question = Question(budget, cost_model, curve, tuple(responses), max_prompts)
    splits = question.splits(fit)
    if not splits:
        raise InsufficientDataError(_nothing(fit, question))
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
    mean, prob_best = np.clip(forecast.mean, 0, 1), forecast.prob_best(seed)
    low, high = (np.clip(bound, 0, 1) for bound in forecast.interval())
    found = []
    for i, split in enumerate(splits):
        diversity = question.curve.at(split.prompts)
        candidate = Candidate(
            prompts=split.prompts,
            responses=split.responses,
            cost=question.cost_model.cost(split.prompts, split.responses),
            diversity=diversity,
            predicted_reward=float(mean[i]),
            interval_95=(float(low[i]), float(high[i])),
            probability_best=float(prob_best[i]),
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


CONFIDENCE, POWER = 0.95, 0.8
BEYOND_REASON = 10_000


def more_seeds(fit: Fit, forecast: Forecast, first: int, second: int) -> int | None:
    """Seeds to add to each of two splits so that their gap, if as large as predicted, shows.

    Normal approximation: with variance V of the gap now and seed variance s2, m seeds each leave
    1 / (1/V + m / (2 s2)), and that has to be (gap / (z(0.95) + z(0.8)))**2. None above 10,000, or where
    the noise of a seed is unknown.
    """
    gap = float(forecast.mean[first] - forecast.mean[second])
    noise = fit.ensemble.seed_variance if fit.ensemble else fit.observed.noise_variance
    now = forecast.gap_variance(first, second)
    if noise is None or gap <= 0 or now <= 0:
        return None
    wanted = (stats.norm.ppf(CONFIDENCE) + stats.norm.ppf(POWER)) ** 2 / gap**2
    seeds = ceil(2 * noise * max(wanted - 1 / now, 0))
    return max(seeds, 1) if seeds <= BEYOND_REASON else None
