"""The same trials under other costs: what is recommended turns on what is paid for."""

from __future__ import annotations

from dataclasses import dataclass

from search.config.cost import CostModel, Split
from search.fit.fit import Fit
from search.fit.forecast import format_probability
from search.fit.question import Question, predict

OTHERS = {
    "equal annotations": CostModel(unit="annotations"),
    "equal comparisons": CostModel(per_annotation=0, per_comparison=1, unit="comparisons"),
}


@dataclass(frozen=True)
class CostView:
    """What one cost model recommends: splits best first, and the lead over the runner-up (reward)."""

    name: str
    budget: float
    unit: str
    splits: tuple[Split, ...]
    rewards: tuple[float, ...]
    intervals_95: tuple[tuple[float, float], ...]
    advantage: float | None
    probability_better: float | None

    def sentence(self) -> str:
        """One line for the terminal."""
        text = (
            f"{self.name} ({self.budget:,.10g} {self.unit}): {self.splits[0]}, reward {self.rewards[0]:.3f}"
        )
        if self.advantage is None:
            return text
        sure = (
            ""
            if self.probability_better is None
            else f" (probability {format_probability(self.probability_better)})"
        )
        return f"{text}, {self.advantage:.3f} over {self.splits[1]}{sure}"


def compare_costs(fit: Fit, best: Split, question: Question) -> list[CostView]:
    """The user's prices, equal annotations, and equal pairwise comparisons, side by side.

    The user's prices get the user's budget; the others get what the recommended split `best` costs under
    them, so that every view has that split on its limit. Without a line only the first is comparable.
    """
    found = [_view("your prices", fit, question)]
    for name, model in OTHERS.items():
        amount = model.cost(best.prompts, best.responses)
        if fit.ensemble is not None and amount > 0:
            found.append(_view(name, fit, question.at(amount, model)))
    return found


def _view(name: str, fit: Fit, question: Question) -> CostView:
    splits = question.splits(fit)
    forecast = predict(fit, splits, question.curve)
    low, high = forecast.interval()
    order = sorted(range(len(splits)), key=lambda i: -forecast.mean[i])
    baselines = len(order) > 1
    return CostView(
        name=name,
        budget=question.budget,
        unit=question.cost_model.unit,
        splits=tuple(splits[i] for i in order),
        rewards=tuple(float(forecast.mean[i]) for i in order),
        intervals_95=tuple((float(low[i]), float(high[i])) for i in order),
        advantage=float(forecast.mean[order[0]] - forecast.mean[order[1]]) if baselines else None,
        probability_better=forecast.probability(order[0], order[1]) if baselines else None,
    )
