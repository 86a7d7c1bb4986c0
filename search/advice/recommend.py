"""Which split to label with a budget, how sure that is, and when the trials give no ground to say."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, isfinite

from scipy import stats

from base.errors import InsufficientDataError
from search.advice.compare import compare_costs
from search.advice.labelling import assumed_of_labelling, told_of_labelling
from search.advice.recommendation import CONFIDENCE, BetterTrial, Candidate, Recommendation
from search.advice.visits import Visits, training_length
from search.config.cost import Split
from search.fit.decision import Decision, decide
from search.fit.fit import Fit
from search.fit.forecast import Forecast
from search.fit.question import Question, fewest_prompts, no_line
from search.fit.ways import BEYOND_REASON, POWER
from search.trials.record import TrialRecord

# A split that leaves so much of its budget unspent spends less by choice, not by rounding.
UNSPENT = 0.9
BETTER_NAMED = 2


def recommend(
    fit: Fit,
    question: Question,
    *,
    seed: int,
    margin: float | None = None,
    visits: Visits = None,
) -> Recommendation:
    """The best split that answers `question`.

    Smaller splits compete too. Only numbers of responses within those tried are predicted. Differences up to
    `margin` (reward; None: the scale's own) do not matter. `visits` to prompts are those of every training
    (`search.advice.visits`). Raises InsufficientDataError, saying what to run, where the budget
    buys nothing or the trials identify no prediction for it.
    """
    if not isfinite(question.budget) or question.budget <= 0:
        unit = question.cost_model.unit
        raise InsufficientDataError(f"budget {question.budget} {unit} is not a positive number")
    splits = question.splits(fit)
    if not splits:
        raise InsufficientDataError(_nothing(fit, question))
    decision = decide(fit, question, splits, fit.scale.margin if margin is None else margin, seed)
    return _answer(fit, question, decision, seed, visits)


def _answer(fit: Fit, question: Question, decision: Decision, seed: int, visits: Visits) -> Recommendation:
    candidates = _candidates(fit, question, decision)
    best, second = candidates[0], decision.runner_up
    flags = _flags(fit, question, candidates, decision)
    largest = question.largest(best.responses, best.labelling)
    whole = next((c for c in candidates if c.split == largest), None) if flags["less"] else None
    equals = [candidates[i] for i in decision.equals]
    behind = [c for c in (whole, None if second is None else candidates[second]) if c and c not in equals]
    return Recommendation(
        budget=question.budget,
        unit=question.cost_model.unit,
        scale=fit.scale,
        margin=decision.margin,
        splits=candidates,
        runner_up=None if second is None else candidates[second],
        probability_better=None if second is None else decision.forecast.probability(0, second),
        enough=decision.enough,
        equals=tuple(equals),
        whole=whole,
        better_trials=_better_trials(fit, question, candidates),
        training_length=training_length(
            fit.records, best.split, [c.split for c in behind], [c.split for c in equals], visits
        ),
        flags=flags,
        more_seeds=more_seeds(fit, decision.forecast, 0, second) if second and flags["undecided"] else None,
        try_responses=_more_responses(question, best.responses) if flags["edge"] else None,
        cost_models=tuple(compare_costs(fit, best.split, question)),
        max_prompts=question.max_prompts,
        trials=fit.observed.count,
        seeds=int(fit.observed.seeds.sum()),
        seed=seed,
        assumptions=_assumptions(fit),
        labelling=told_of_labelling(fit, decision),
    )


def _more_responses(question: Question, responses: int) -> int | None:
    """The next larger number of responses that can be had; None where there is none."""
    larger = min((k for k in question.responses if k > responses), default=responses + 1)
    most = question.most_responses
    return larger if most is None or larger <= most else None


def _flags(
    fit: Fit, question: Question, candidates: Sequence[Candidate], decision: Decision
) -> dict[str, bool]:
    best = candidates[0]
    largest = question.largest(best.responses, best.labelling)
    less = largest is not None and best.prompts < UNSPENT * largest.prompts
    fewest = fewest_prompts(fit.observed, [best.responses])[best.responses]
    raters = fit.observed.rater_levels
    return {
        **({"raters_edge": best.raters == raters[-1]} if len(raters) > 1 else {}),
        "edge": best.responses == fit.observed.levels[-1],
        "extrapolated": best.extrapolated,
        "unidentified": fit.ensemble is None,
        "less": less,
        "fewest": less and best.prompts <= fewest * 1.01,
        "undecided": decision.enough < CONFIDENCE,
        "single_seed": fit.observed.noise_variance is None,
    }


def _candidates(fit: Fit, question: Question, decision: Decision) -> tuple[Candidate, ...]:
    observed = fit.observed
    mean = fit.scale.clip(decision.forecast.mean)
    low, high = (fit.scale.clip(bound) for bound in decision.forecast.interval())
    found = []
    for i, split in enumerate(decision.splits):
        diversity = question.curve.at(split.prompts)
        candidate = Candidate(
            prompts=split.prompts,
            responses=split.responses,
            cost=question.cost_model.of(split),
            diversity=diversity,
            predicted_reward=float(mean[i]),
            interval_95=(float(low[i]), float(high[i])),
            probability_best=float(decision.best[i]),
            exceeds=float(decision.exceeds[i]),
            behind=float(decision.behind[i]),
            tried=decision.tried[i],
            responses_tried=decision.contenders[i],
            prompts_beyond=split.prompts / float(observed.prompts.max()),
            prompts_below=float(observed.prompts.min()) / split.prompts,
            diversity_beyond=diversity / max(float(observed.diversity.max()), 1e-300),
            labelling=split.labelling,
        )
        found.append(candidate)
    return tuple(found)


def _better_trials(fit: Fit, question: Question, candidates: Sequence[Candidate]) -> tuple[BetterTrial, ...]:
    """The best trials of other splits within the budget that did better than the first is predicted to."""
    predicted = {candidate.split: candidate.predicted_reward for candidate in candidates}
    found = []
    for record in sorted(fit.records, key=lambda record: -record.reward):
        cost = question.cost_model.of(record.split)
        affordable, other = cost <= question.budget * (1 + 1e-12), record.split != candidates[0].split
        if affordable and other and not record.group and record.reward > candidates[0].predicted_reward:
            found.append(_better_trial(record, cost, predicted))
    return tuple(found[:BETTER_NAMED])


def _better_trial(record: TrialRecord, cost: float, predicted: dict[Split, float]) -> BetterTrial:
    split, random = record.split, record.selection == "random"
    return BetterTrial(
        label=str(split) if random else f"{split} {record.selection}",
        cost=cost,
        reward=record.reward,
        reward_se=record.reward_se,
        predicted_reward=predicted.get(split) if random else None,
    )


def _assumptions(fit: Fit) -> tuple[str, ...]:
    found = [
        "Reward is a reward model's mean score on held-out prompts, not people's judgement.",
        "Prompts are drawn at random from the same pool, and trained with the study's own settings.",
        "Splits between and below those tried follow the average of the models.",
    ]
    found += assumed_of_labelling(fit)
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
    least = min(
        question.cost_model.cost_per_prompt(k, how) for k in known for how in question.known_labellings(fit)
    )
    if question.budget < least:
        unit = question.cost_model.unit
        return f"budget {question.budget:g} {unit} buys no prompt; one costs at least {least:g}"
    return no_line(fit)


def more_seeds(fit: Fit, forecast: Forecast, first: int, second: int) -> int | None:
    """Seeds to add to each of two splits so that their gap, if as large as predicted, shows.

    Normal approximation: with variance V of the gap now and seed variance s2, m seeds each leave
    1 / (1/V + m / (2 s2)), and that has to be (gap / (z(0.95) + z(0.8)))**2. None above 50, which nobody
    would train, or where the noise of a seed is unknown.
    """
    gap = abs(float(forecast.mean[first] - forecast.mean[second]))
    noise = fit.ensemble.seed_variance if fit.ensemble else fit.observed.noise_variance
    now = forecast.gap_variance(first, second)
    if noise is None or gap <= 0 or now <= 0:
        return None
    wanted = (stats.norm.ppf(CONFIDENCE) + stats.norm.ppf(POWER)) ** 2 / gap**2
    seeds = ceil(2 * noise * max(wanted - 1 / now, 0))
    return max(seeds, 1) if seeds <= BEYOND_REASON else None
