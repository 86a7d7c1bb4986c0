"""What is asked of a fit: a budget at some prices, and what the pool can give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from base.errors import InsufficientDataError
from search.config.cost import PLAIN, CostModel, Labelling, Split, feasible_splits, largest_split
from search.fit.curve import DiversityCurve
from search.fit.ensemble import direct_forecast
from search.fit.fit import Fit
from search.fit.forecast import Forecast
from search.fit.models import Points
from search.fit.observations import Observations

# Without a line the answer is one of the tried splits: for a budget that one of them nearly spends.
NEARLY_ALL = 0.9
SMALLER = 6


@dataclass(frozen=True)
class Question:
    """Which split of `budget`? `responses` and `max_prompts` (None: no limit) are what can be had.

    So are `labellings`; None: every way of labelling that was tried. `most_responses` is how many a prompt
    can have at all; None: not known.
    """

    budget: float
    cost_model: CostModel
    curve: DiversityCurve
    responses: tuple[int, ...]
    max_prompts: int | None
    labellings: tuple[Labelling, ...] | None = None
    most_responses: int | None = None

    def at(self, budget: float, cost_model: CostModel | None = None) -> Question:
        """The same for another budget, at the same or other prices."""
        return replace(self, budget=budget, cost_model=cost_model or self.cost_model)

    def known(self, fit: Fit) -> list[int]:
        """Numbers of responses that can be had and lie within those tried: no other is predicted."""
        lowest, highest = fit.observed.levels[0], fit.observed.levels[-1]
        return [k for k in sorted(set(self.responses)) if lowest <= k <= highest]

    def known_labellings(self, fit: Fit) -> list[Labelling]:
        """Ways of labelling that can be had and were tried: no other is predicted."""
        allowed = self.labellings
        return [one for one in fit.observed.labellings if allowed is None or one in allowed]

    def splits(self, fit: Fit) -> list[Split]:
        """What to compare: for each known k the largest split within budget, and smaller ones.

        The smaller ones cost what trials cost, and have no fewer prompts than trials with about as many
        responses.
        Where the trials identify no line only tried splits are left, and none at all unless one of them
        spends 90% of the budget or more.
        """
        tried = self._tried(fit)
        if fit.ensemble is None:
            spent = [self.cost_model.of(split) for split in tried]
            return tried if max(spent, default=0.0) >= NEARLY_ALL * self.budget else []
        found = {*tried, *self._feasible(self.budget, fit)}
        fewest = fewest_prompts(fit.observed, self.known(fit))
        for amount in self._smaller(tried):
            found.update(s for s in self._feasible(amount, fit) if s.prompts >= fewest[s.responses])
        return sorted(found, key=lambda split: (split.responses, split.prompts, split.labelling.rank))

    def largest(self, responses: int, labelling: Labelling = PLAIN) -> Split | None:
        """The most prompts that the budget, and the pool, give with so many responses, labelled so."""
        return largest_split(self.cost_model, self.budget, responses, self.max_prompts, labelling)

    def _feasible(self, amount: float, fit: Fit) -> list[Split]:
        return [
            split
            for labelling in self.known_labellings(fit)
            for split in feasible_splits(
                self.cost_model,
                amount,
                responses=self.known(fit),
                max_prompts=self.max_prompts,
                labelling=labelling,
            )
        ]

    def _tried(self, fit: Fit) -> list[Split]:
        """The splits of trials with random prompts that can be had within the budget."""
        observed, limit = fit.observed, self.budget * (1 + 1e-12)
        known = self.known_labellings(fit)
        splits = [split for split in tried_splits(observed) if split.labelling in known]
        most = self.max_prompts or max((split.prompts for split in splits), default=0)
        return [
            s for s in splits
            if s.responses in self.responses and s.prompts <= most
            and self.cost_model.of(s) <= limit
        ]  # fmt: skip

    def _smaller(self, tried: Sequence[Split]) -> list[float]:
        """At most SMALLER amounts under the budget that trials cost, a tenth apart, largest first."""
        found: list[float] = []
        for cost in sorted(map(self.cost_model.of, tried), reverse=True):
            if 0 < cost < 0.9 * (found[-1] if found else self.budget):
                found.append(cost)
        indices = np.unique(np.linspace(0, len(found) - 1, min(len(found), SMALLER)).round().astype(int))
        return [found[index] for index in indices] if found else []


def tried_splits(observed: Observations) -> list[Split]:
    """The splits of this study's trials with random prompts, in order."""
    of_trials = observed.prompts, observed.responses, observed.labelling
    rows = set(zip(*(each[observed.random] for each in of_trials), strict=True))
    splits = (Split.of(int(n), int(k), labelling) for n, k, labelling in rows)
    return sorted(splits, key=lambda split: (split.prompts, split.responses, split.labelling.rank))


def fewest_prompts(observed: Observations, responses: Sequence[int]) -> dict[int, float]:
    """The fewest prompts tried with each number of responses; between tried numbers interpolated."""
    least = [observed.prompts[observed.responses == k].min() for k in observed.levels]
    found = np.exp(np.interp(np.log(responses), np.log(observed.levels), np.log(least)))
    return {k: float(n) * (1 - 1e-9) for k, n in zip(responses, found, strict=True)}


def points(splits: Sequence[Split], curve: DiversityCurve) -> Points:
    """`splits` as the models see them, with the diversity of so many random prompts."""
    return Points.at(splits, [curve.at(split.prompts) for split in splits])


def predict(fit: Fit, splits: Sequence[Split], curve: DiversityCurve, *, own: bool = True) -> Forecast:
    """Joint belief about the expected rewards of `splits`, in their order; `own` as in `Ensemble.forecast`.

    Where the trials identify no line only tried splits can be predicted, from their own seeds; otherwise
    InsufficientDataError says what to run.
    """
    at = points(splits, curve)
    forecast = fit.ensemble.forecast(at, own=own) if fit.ensemble else direct_forecast(fit.observed, at)
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
