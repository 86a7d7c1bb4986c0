"""The same trials under other costs: what is recommended turns on what is paid for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from search.config.cost import CostModel, Split
from search.config.scale import RewardScale
from search.fit.decision import best_first
from search.fit.fit import Fit
from search.fit.forecast import format_probability
from search.fit.observations import BEYOND
from search.fit.question import Question, predict

OTHERS = {
    "equal annotations": CostModel(unit="annotations"),
    "equal comparisons": CostModel(per_annotation=0, per_comparison=1, unit="comparisons"),
}


@dataclass(frozen=True)
class CostView:
    """What one cost model recommends: for each number of responses its best split, best first.

    `advantage` is the lead over `runner_up`, the best split of another number of responses that was tried.
    """

    name: str
    budget: float
    unit: str
    splits: tuple[Split, ...]
    rewards: tuple[float, ...]
    intervals_95: tuple[tuple[float, float], ...]
    runner_up: Split | None
    advantage: float | None
    probability_better: float | None
    prompts_beyond: float  # prompts of the best split / largest number tried; above 1 is extrapolation
    scale: RewardScale

    def sentence(self) -> str:
        """One line for the terminal."""
        reward = self.scale.text
        first = f"{self.splits[0]}, reward {reward(self.rewards[0])}"
        text = f"{self.name} ({self.budget:,.10g} {self.unit}): {first}"
        far = f"; {self.prompts_beyond:.2f} times the trials' most prompts" * (self.prompts_beyond > BEYOND)
        if self.runner_up is None or self.advantage is None:
            return text + far
        sure = (
            ""
            if self.probability_better is None
            else f" (probability {format_probability(self.probability_better)})"
        )
        return f"{text}, {reward(self.advantage)} over {self.runner_up}{sure}{far}"


def compare_costs(fit: Fit, best: Split, question: Question) -> list[CostView]:
    """The user's prices, equal annotations, and equal pairwise comparisons, side by side.

    The user's prices get the user's budget; the others get what the recommended split `best` costs under
    them, so that every view has that split on its limit. They know no price of a judge, so they compare
    labels of its kind alone. Without a line only the first is comparable.
    """
    found = [_view("your prices", fit, question)]
    kind = tuple(one for one in question.known_labellings(fit) if one.human_share == best.human_share)
    for name, model in OTHERS.items():
        amount = model.of(best)
        if fit.ensemble is not None and amount > 0:
            found.append(_view(name, fit, replace(question.at(amount, model), labellings=kind)))
    return found


def _view(name: str, fit: Fit, question: Question) -> CostView:
    splits = question.splits(fit)
    forecast = predict(fit, splits, question.curve)
    low, high = (fit.scale.clip(bound) for bound in forecast.interval())
    order = _best_of_each(splits, best_first(forecast, splits))
    runner_up = next((i for i in order[1:] if splits[i].responses in fit.observed.levels), None)
    return CostView(
        name=name,
        budget=question.budget,
        unit=question.cost_model.unit,
        splits=tuple(splits[i] for i in order),
        rewards=tuple(float(forecast.mean[i]) for i in order),
        intervals_95=tuple((float(low[i]), float(high[i])) for i in order),
        runner_up=None if runner_up is None else splits[runner_up],
        advantage=None if runner_up is None else float(forecast.mean[order[0]] - forecast.mean[runner_up]),
        probability_better=None if runner_up is None else forecast.probability(order[0], runner_up),
        prompts_beyond=splits[order[0]].prompts / float(fit.observed.prompts.max()),
        scale=fit.scale,
    )


def _best_of_each(splits: Sequence[Split], order: Sequence[int]) -> list[int]:
    """Of the indices in `order` the first for each number of responses."""
    first: dict[int, int] = {}
    for index in order:
        first.setdefault(splits[index].responses, index)
    return list(first.values())
