"""The answer before the first label: a split from past studies alone, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from base.errors import InsufficientDataError
from search.config.cost import CostModel, Split, feasible_splits
from search.config.scale import UNIT, RewardScale
from search.fit.forecast import format_probability
from search.prior.hierarchy import Prior
from search.prior.pilot import Pilot, best_pilot

# Labels under which plain supervised fine-tuning did better at equal money (arXiv 2502.11284).
FEW_LABELS = 1_000


@dataclass(frozen=True)
class PriorSplit:
    """One split of the budget, with its expected reward and how likely it is to be the best of all."""

    split: Split
    cost: float
    reward: float
    interval_95: tuple[float, float]
    probability_best: float


@dataclass(frozen=True)
class PriorAnswer:
    """Splits best first. `lead` and its interval are over the runner-up, None with a single split."""

    budget: float
    unit: str
    splits: tuple[PriorSplit, ...]
    lead: float | None
    lead_95: tuple[float, float] | None
    probability_better: float | None
    pilot: Pilot | None
    warnings: tuple[str, ...]
    studies: tuple[str, ...]
    base_reward: float | None
    margin: float
    scale: RewardScale

    @property
    def best(self) -> PriorSplit:
        return self.splits[0]

    def to_dict(self) -> dict[str, Any]:
        """As `apportion plan --json` prints it."""
        return {
            "basis": f"prior only, from {len(self.studies)} studies",
            **asdict(self),
            "scale": self.scale.name,
            "text": self.text(),
        }

    def text(self) -> str:
        """The answer in plain words, one thought a line."""
        return "\n".join([self._basis(), self._split(), *self.warnings, self._next()])

    def _basis(self) -> str:
        plural = "studies" if len(self.studies) != 1 else "study"
        return f"prior only, from {len(self.studies)} {plural}: {'; '.join(self.studies)}"

    def _split(self) -> str:
        low, high = self.best.interval_95
        show = self.scale.text
        text = (
            f"With {self.budget:,.10g} {self.unit} label {self.best.split}: predicted reward "
            f"{show(self.best.reward)} (95% interval {show(low)} to {show(high)})"
        )
        if self.lead is None or self.lead_95 is None or self.probability_better is None:
            return f"{text}, the only split that the budget allows."
        return (
            f"{text}, ahead of {self.splits[1].split} by {show(self.lead)} (95% interval "
            f"{show(self.lead_95[0])} to {show(self.lead_95[1])}, probability "
            f"{format_probability(self.probability_better)})."
        )

    def _next(self) -> str:
        if self.pilot is None:
            return "Next: label this split; no pilot is expected to pay for itself."
        pilot, show = self.pilot, partial(self.scale.text, more=1)
        if pilot.gain < self.margin:
            return (
                f"Next: label this split. Choosing now loses {show(pilot.loss_now)} of reward on average "
                f"against the best one, and even the best pilot would save only {show(pilot.gain)} of it: "
                f"less than your margin of {self.margin:g}."
            )
        trials = ", ".join(str(split) for split in pilot.trials)
        share = pilot.gain / pilot.loss_now
        return (
            f"Next: a pilot. Label {pilot.labelled} first ({pilot.cost:,.10g} {self.unit}; the final split "
            f"uses them) and run `apportion study` on {trials}, {pilot.seeds} seeds each. Choosing now loses "
            f"{show(pilot.loss_now)} of reward on average against the best split, choosing after it "
            f"{show(pilot.loss_after)}: {share:.0%} less."
        )


def answer(
    prior: Prior,
    *,
    budget: float,
    cost_model: CostModel,
    responses: Sequence[int],
    max_prompts: int | None = None,
    base_reward: float | None = None,
    margin: float | None = None,
    seed: int = 0,
    scale: RewardScale = UNIT,
) -> PriorAnswer:
    """The split of `budget` that past studies speak for, and the pilot that would tell more.

    `prior` is over rewards on `scale`. A pilot that is expected to gain less than `margin` (None: the scale's
    own) is not advised. Raises InsufficientDataError where the
    budget buys nothing. With `base_reward` the prior has to be one over lifts
    (`learn_prior(..., over_base=True)`).
    """
    splits = feasible_splits(cost_model, budget, responses=responses, max_prompts=max_prompts)
    if not splits:
        least = min(cost_model.cost_per_prompt(k) for k in responses)
        raise InsufficientDataError(
            f"budget {budget:g} {cost_model.unit} buys no prompt; one costs at least {least:g}"
        )
    mean = prior.forecast(splits).mean
    ordered = [splits[int(i)] for i in np.argsort(-mean, kind="stable")]
    lead, lead_95, better = _lead(prior, ordered)
    return PriorAnswer(
        budget=budget,
        unit=cost_model.unit,
        splits=_described(prior, ordered, cost_model, base_reward or 0.0, seed, scale),
        lead=lead,
        lead_95=lead_95,
        probability_better=better,
        pilot=best_pilot(
            prior,
            budget=budget,
            cost_model=cost_model,
            responses=responses,
            max_prompts=max_prompts,
            seed=seed,
        ),
        warnings=tuple(_warnings(prior, ordered[0])),
        studies=tuple(study.name for study in prior.studies),
        base_reward=base_reward,
        margin=scale.margin if margin is None else margin,
        scale=scale,
    )


def _described(
    prior: Prior,
    ordered: Sequence[Split],
    cost_model: CostModel,
    base: float,
    seed: int,
    scale: RewardScale,
) -> tuple[PriorSplit, ...]:
    forecast = prior.forecast(ordered)
    low, high = (scale.clip(bound + base) for bound in forecast.interval())
    rewards = scale.clip(forecast.mean + base)
    winners = forecast.draws(seed).argmax(axis=1)
    best = np.bincount(winners, minlength=len(ordered)) / len(winners)
    return tuple(
        PriorSplit(
            split=split,
            cost=cost_model.cost(split.prompts, split.responses),
            reward=float(rewards[i]),
            interval_95=(float(low[i]), float(high[i])),
            probability_best=float(best[i]),
        )
        for i, split in enumerate(ordered)
    )


def _lead(
    prior: Prior, ordered: Sequence[Split]
) -> tuple[float | None, tuple[float, float] | None, float | None]:
    if len(ordered) < 2:
        return None, None, None
    forecast = prior.forecast(ordered[:2])
    gap = forecast.combine(np.array([[1.0, -1.0]]))
    low, high = gap.interval()
    return float(gap.mean[0]), (float(low[0]), float(high[0])), forecast.probability(0, 1)


def _warnings(prior: Prior, best: Split) -> list[str]:
    found = []
    if best.prompts * best.responses < FEW_LABELS:
        found.append(
            f"Warning: {best.prompts * best.responses:,} labels are few for this question: under about "
            f"{FEW_LABELS:,}, supervised fine-tuning on written answers did better than preferences at equal "
            "money (arXiv 2502.11284)."
        )
    within = [s for s in prior.studies if s.responses[0] <= best.responses <= s.responses[1]]
    if len(within) < len(prior.studies):
        found.append(
            f"{'Extrapolated: no' if not within else f'Only {len(within)} of {len(prior.studies)}'} past "
            f"{'study' if not within else 'studies'} tried {best.responses} responses."
        )
    if not any(s.prompts[0] <= best.prompts <= s.prompts[1] for s in prior.studies):
        low = min((s.prompts[0] for s in prior.studies), default=0)
        high = max((s.prompts[1] for s in prior.studies), default=0)
        found.append(f"Extrapolated: past studies had {low:,} to {high:,} prompts, not {best.prompts:,}.")
    return found
