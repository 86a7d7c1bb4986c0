"""What is asked of a fit: a budget at some prices, and what the pool can give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from base.errors import InsufficientDataError
from search.config.cost import CostModel, Split, feasible_splits
from search.fit.curve import DiversityCurve
from search.fit.ensemble import direct_forecast
from search.fit.fit import Fit
from search.fit.forecast import Forecast
from search.fit.models import Points


@dataclass(frozen=True)
class Question:
    """Which split of `budget`? `responses` and `max_prompts` (None: no limit) are what can be had."""

    budget: float
    cost_model: CostModel
    curve: DiversityCurve
    responses: tuple[int, ...]
    max_prompts: int | None

    def at(self, budget: float, cost_model: CostModel | None = None) -> Question:
        """The same for another budget, at the same or other prices."""
        return replace(self, budget=budget, cost_model=cost_model or self.cost_model)

    def known(self, fit: Fit) -> list[int]:
        """Numbers of responses that can be had and lie within those tried: no other is predicted."""
        lowest, highest = fit.observed.levels[0], fit.observed.levels[-1]
        return [k for k in sorted(set(self.responses)) if lowest <= k <= highest]

    def splits(self, fit: Fit) -> list[Split]:
        """What to compare: for each known k the largest split within budget.

        Where the trials identify no line, the tried splits instead that spend 90% of the budget or more.
        """
        if fit.ensemble is not None:
            return feasible_splits(
                self.cost_model, self.budget, responses=self.known(fit), max_prompts=self.max_prompts
            )
        return self._tried(fit)

    def _tried(self, fit: Fit) -> list[Split]:
        found: dict[int, Split] = {}
        random = ~fit.observed.varied
        for n, k in zip(fit.observed.prompts[random], fit.observed.responses[random], strict=True):
            split = Split(int(n), int(k))
            share = self.cost_model.cost(split.prompts, split.responses) / self.budget
            if 0.9 <= share <= 1 + 1e-12 and split.responses in self.responses:
                found[split.responses] = max(split, found.get(split.responses, split))
        return [found[k] for k in sorted(found)]


def predict(fit: Fit, splits: Sequence[Split], curve: DiversityCurve) -> Forecast:
    """Joint belief about the expected rewards of `splits`, in their order.

    Where the trials identify no line only tried splits can be predicted, from their own seeds; otherwise
    NoGroundError says what to run.
    """
    at = Points(
        np.array([split.prompts for split in splits], float),
        np.array([split.responses for split in splits], float),
        np.array([curve.at(split.prompts) for split in splits], float),
    )
    forecast = fit.ensemble.forecast(at) if fit.ensemble else direct_forecast(fit.observed, at)
    if forecast is None:
        raise InsufficientDataError(no_line(fit))
    return forecast


def no_line(fit: Fit) -> str:
    """Why there is no prediction, and what to run."""
    sizes = sorted({int(n) for n in fit.observed.prompts})
    named = ", ".join(f"{n:,}" for n in sizes[:6]) + (", ..." if len(sizes) > 6 else "")
    return (
        f"the {fit.observed.count} trials (prompts: {named}; {int(fit.observed.seeds.sum())} seeds in all) "
        "identify no line and hold no answer for this budget: run each number of responses at two or more "
        "budget_fractions, with two or more seeds"
    )
