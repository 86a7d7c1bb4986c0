"""The recommendation as data, as JSON and in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from search.advice.compare import CostView
from search.advice.mixed import MixedSplit
from search.config.cost import Split
from search.fit.forecast import format_probability


@dataclass(frozen=True)
class Candidate:
    """One feasible split with its predicted expected reward and how far it lies beyond the trials."""

    prompts: int
    responses: int
    cost: float
    diversity: float
    predicted_reward: float
    interval_95: tuple[float, float]
    probability_best: float
    prompts_beyond: float  # prompts / largest number tried; above 1 is extrapolation
    diversity_beyond: float  # D / largest D tried

    @property
    def split(self) -> Split:
        return Split(self.prompts, self.responses)


@dataclass(frozen=True)
class Recommendation:
    """The answer for one budget. Rewards are expected rewards within [0, 1]; splits are best first.

    Flags: `edge` the largest number of responses tried wins; `extrapolated` more prompts or diversity
    than any trial had; `unidentified` too few budget fractions for a line, so only tried splits are compared;
    `flat` no model in which more prompts raise the reward fits, so their number does not count;
    `not_separated` the best beats the runner-up with a probability under 0.95; `single_seed` no trial has
    two seeds.
    """

    budget: float
    unit: str
    splits: tuple[Candidate, ...]
    probability_better: float | None  # recommended beats the runner-up; None with a single split
    flags: dict[str, bool]
    more_seeds: int | None  # further seeds for each of the two best that would separate them
    try_responses: int | None
    mixed: MixedSplit | None
    cost_models: tuple[CostView, ...]
    max_prompts: int | None  # that can be had; None: no limit was given
    trials: int
    seeds: int
    seed: int
    assumptions: tuple[str, ...]

    @property
    def best(self) -> Candidate:
        return self.splits[0]

    @property
    def runner_up(self) -> Candidate | None:
        return self.splits[1] if len(self.splits) > 1 else None

    def to_dict(self) -> dict[str, Any]:
        """As kept in recommendation.json; a `probability_better` is that of the split it stands with."""
        runner = None
        if self.runner_up is not None and self.probability_better is not None:
            runner = asdict(self.runner_up) | {"probability_better": 1 - self.probability_better}
        return {
            "budget": self.budget,
            "unit": self.unit,
            "recommended": {"prompts": self.best.prompts, "responses": self.best.responses},
            "predicted_reward": self.best.predicted_reward,
            "interval_95": list(self.best.interval_95),
            "runner_up": runner,
            "probability_better": self.probability_better,
            "flags": self.flags,
            "more_seeds": self.more_seeds,
            "try_responses": self.try_responses,
            "mixed": asdict(self.mixed) if self.mixed else None,
            "splits": [asdict(split) for split in self.splits],
            "cost_models": [asdict(view) for view in self.cost_models],
            "max_prompts": self.max_prompts,
            "trials": self.trials,
            "seeds": self.seeds,
            "seed": self.seed,
            "assumptions": list(self.assumptions),
            "sentence": self.sentence(),
        }

    def sentence(self) -> str:
        """The answer in plain words, with its warnings."""
        low, high = self.best.interval_95
        text = (
            f"With {self.budget:,.10g} {self.unit} label {self.best.split}: predicted reward "
            f"{self.best.predicted_reward:.3f} (95% interval {low:.3f} to {high:.3f})"
        )
        return " ".join([f"{text}{self._lead()}.", *self.warnings()])

    def _lead(self) -> str:
        if self.runner_up is None or self.probability_better is None:
            return ", the only split that the budget and the trials allow"
        gap = self.best.predicted_reward - self.runner_up.predicted_reward
        sure = format_probability(self.probability_better)
        return f", ahead of {self.runner_up.split} by {gap:.3f} (probability {sure})"

    def warnings(self) -> list[str]:
        """One sentence for each flag that is raised."""
        best, found = self.best, []
        if self.flags["not_separated"]:
            found.append(self._separation())
        if self.flags["edge"]:
            advice = f": try {self.try_responses}" if self.try_responses else ""
            found.append(f"Responses sit at the edge of what was tried{advice}.")
        if self.flags["extrapolated"]:
            found.append(
                f"This reaches beyond the trials: {best.prompts_beyond:.2f} times their most prompts, "
                f"{best.diversity_beyond:.2f} times their highest diversity."
            )
        if self.flags["unidentified"]:
            found.append("Too few budget fractions were tried for a line, so only tried splits are compared.")
        if self.flags["flat"]:
            found.append(
                "More prompts did not raise the reward in these trials; their number is not counted."
            )
        if self.mixed is not None:
            found.append(
                f"Unequal labelling may add {self.mixed.gain:.4f}: {self.mixed} "
                f"(probability {format_probability(self.mixed.probability_better)})."
            )
        return found

    def _separation(self) -> str:
        if self.more_seeds is None:
            return "The two are not separated, and no sensible number of seeds would tell them apart."
        plural = "s" if self.more_seeds > 1 else ""
        seeds = f"{self.more_seeds:,} more seed{plural}"
        return f"The two are not separated: about {seeds} of each would tell them apart."
