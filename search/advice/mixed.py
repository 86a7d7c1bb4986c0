"""Unequal labelling: k responses for some prompts and k + 1 for the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.config.cost import CostModel, Split
from search.fit.fit import Fit
from search.fit.question import Question, predict

SHARES = tuple(np.linspace(0.1, 0.9, 9))
_CHANCE = 0.75  # of being better, under which an unequal split is not worth its trouble


@dataclass(frozen=True)
class MixedSplit:
    """`prompts` prompts, of which `with_more` get responses + 1 and the others `responses`.

    Its reward is interpolated between the two equal splits of as many prompts; `gain` is over the best
    equal split (reward), `probability_better` the probability that the gain is real.
    """

    prompts: int
    responses: int
    with_more: int
    cost: float
    predicted_reward: float
    interval_95: tuple[float, float]
    gain: float
    probability_better: float

    def __str__(self) -> str:
        rest = self.prompts - self.with_more
        return f"{rest:,} x {self.responses} and {self.with_more:,} x {self.responses + 1}"


def mixed_split(fit: Fit, best: Split, question: Question) -> MixedSplit | None:
    """The best unequal split within budget, or None where it is hardly better than the equal split `best`."""
    options = _options(fit, question) if fit.ensemble else []
    splits = [best] + [Split(n, k + extra) for n, k, _ in options for extra in (0, 1)]
    contrast = np.zeros((1 + len(options), len(splits)))
    contrast[0, 0] = 1
    for row, (n, _, more) in enumerate(options, 1):
        contrast[row, 2 * row - 1 : 2 * row + 1] = (1 - more / n, more / n)
    forecast = predict(fit, splits, question.curve).combine(contrast)
    top = int(forecast.mean.argmax())
    probability = forecast.probability(top, 0) if top else 0.0
    if probability < _CHANCE:
        return None
    (n, k, more), (low, high) = options[top - 1], forecast.interval()
    return MixedSplit(
        prompts=n,
        responses=k,
        with_more=more,
        cost=_cost(question.cost_model, n, k, more),
        predicted_reward=float(forecast.mean[top]),
        interval_95=(float(max(low[top], 0)), float(min(high[top], 1))),
        gain=float(forecast.mean[top] - forecast.mean[0]),
        probability_better=probability,
    )


def _cost(cost_model: CostModel, prompts: int, responses: int, more: int) -> float:
    return cost_model.cost(prompts - more, responses) + cost_model.cost(more, responses + 1)


def _options(fit: Fit, question: Question) -> list[tuple[int, int, int]]:
    """(prompts, k, prompts with k + 1): all that the budget buys at several shares."""
    found = []
    known = question.known(fit)
    for k in (k for k in known if k + 1 in known):
        for share in SHARES:
            option = _largest(k, share, question)
            if option[2] >= 1 and _cost(question.cost_model, *option) <= question.budget * (1 + 1e-12):
                found.append(option)
    return found


def _largest(k: int, share: float, question: Question) -> tuple[int, int, int]:
    low, high = (question.cost_model.cost_per_prompt(each) for each in (k, k + 1))
    limit = np.inf if question.max_prompts is None else question.max_prompts
    prompts = int(min(question.budget / (low + share * (high - low)), limit))
    return prompts, k, int(share * prompts)
