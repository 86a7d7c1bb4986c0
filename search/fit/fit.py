"""The fit of a study's trials: the predictor, the table of models, and the tests, in one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from base.errors import InsufficientDataError
from search.config.scale import UNIT, RewardScale, ScaleName, reward_scale
from search.fit.diversity_effect import DiversityEffect, diversity_effect
from search.fit.ensemble import Candidate, Ensemble, fit_ensemble
from search.fit.evidence import FitRow, Test, fit_table, lack_of_fit, paper_mse
from search.fit.models import Model
from search.fit.observations import Observations, groups_of
from search.fit.offsets import Offset, offsets
from search.trials.record import TrialRecord


@dataclass(frozen=True, eq=False)
class Fit:
    """Everything that was learnt from the trials; `ensemble` is None where they identify no line."""

    records: tuple[TrialRecord, ...]
    observed: Observations
    ensemble: Ensemble | None
    scale: RewardScale = UNIT

    @cached_property
    def table(self) -> list[FitRow]:
        """Every model that the trials can bear, smallest left-out error first."""
        return fit_table(self.observed)

    @cached_property
    def effect(self) -> DiversityEffect:
        """Whether diversity, or the mere number of prompts, is what these trials support."""
        return diversity_effect(self.observed, lambda: self.table)

    @cached_property
    def linear(self) -> Test:
        """Lack of fit of the paper's model, a line on diversity for each k."""
        return lack_of_fit(self.observed, Model("line per k", "diversity"))

    @cached_property
    def offsets(self) -> tuple[Offset, ...]:
        """How much higher or lower each group of trials lies; none where the trials identify no line."""
        return offsets(groups_of(self.records), self.ensemble) if self.ensemble else ()

    def row(self, structure: str, predictor: str) -> FitRow | None:
        """The row of the table for one model; None where the trials cannot bear it."""
        found = (row for row in self.table if (row.structure, row.predictor) == (structure, predictor))
        return next(found, None)

    def to_dict(self) -> dict[str, Any]:
        """As kept in a study's fit.json."""
        members = self.ensemble.members if self.ensemble else ()
        return {
            "trials": self.observed.count,
            "seeds": int(self.observed.seeds.sum()),
            "responses_tried": list(self.observed.levels),
            "seed_deviation": None
            if self.observed.noise_variance is None
            else self.observed.noise_variance**0.5,
            "weights": {member.model.name: member.weight for member in members},
            "models": [row.to_dict() for row in self.table],
            "paper_mse": {x: paper_mse(self.observed, x) for x in ("diversity", "log prompts", "prompts")},
            "lack_of_fit": self.linear.to_dict(),
            "diversity_effect": self.effect.to_dict(),
            "groups": [offset.to_dict() for offset in self.offsets],
            "summary": self.summary(),
        }

    def summary(self) -> str:
        """A few lines for the terminal."""
        groups = (offset.sentence(self.scale) for offset in self.offsets)
        return "\n".join([self._slope_line(), self._left_out_line(), self.effect.sentence, *groups])

    def _slope_line(self) -> str:
        """The slope within each number of responses: over all of them D falls as responses rise."""
        shared, each = self.row("shared slope", "diversity"), self.row("line per k", "diversity")
        found = [row for row in (shared, each) if row is not None]
        if not found:
            return "Reward on diversity: these trials identify no slope within a number of responses."
        best = min(found, key=lambda row: row.loo_rmse)
        slopes = {f"{k} responses": values for k, values in best.slopes.items()}
        if best is shared:
            slopes = {"each number of responses": next(iter(best.slopes.values()))}
        said = "; ".join(
            f"{at} {b:+.4g} ({low:+.4g} to {high:+.4g})" for at, (b, low, high) in slopes.items()
        )
        return f"Slope of reward on diversity (95% interval) within {said}."

    def _left_out_line(self) -> str:
        best: dict[str, float] = {}
        for row in self.table:
            best[row.predictor] = min(row.loo_rmse, best.get(row.predictor, np.inf))
        if not best:
            return "Left-out error: too few trials to leave one out."
        ordered = sorted(best.items(), key=lambda item: item[1])
        named = ", ".join(f"{name} {self.scale.text(error, more=1)}" for name, error in ordered[:5])
        return f"Left-out error (reward): {named}."


def fit_trials(
    records: Sequence[TrialRecord], scale: ScaleName = "unit", further: Sequence[Candidate] = ()
) -> Fit:
    """Fit all models, and `further` ones, to finished trials; their order does not matter.

    Raises InsufficientDataError for fewer than two trials, rewards that are off `scale`, or rewards that
    are all the same.
    """
    on = reward_scale(scale, (reward for record in records for reward in record.rewards))
    observed = Observations.from_records(records, on)
    if np.ptp([reward for record in records for reward in record.rewards]) == 0:
        raise InsufficientDataError(
            f"all {observed.count} trials have the same reward, {observed.reward[0]:g}, so nothing can be "
            "told apart: check that the reward model discriminates and that training changes the policy"
        )
    return Fit(tuple(records), observed, fit_ensemble(observed, further), on)
