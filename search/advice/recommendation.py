"""The recommendation as data, as JSON and in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from search.advice.compare import CostView
from search.config.cost import PLAIN, Labelling, Split
from search.config.scale import RewardScale
from search.fit.forecast import format_probability
from search.fit.observations import BEYOND

# Equal splits named in a sentence.
NAMED = 4


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
    exceeds: float  # probability of being better than the recommended split by more than the margin
    behind: float  # probability of being worse by more than the margin
    tried: bool
    responses_tried: bool  # whether any trial had so many responses; others are interpolated
    prompts_beyond: float  # prompts / largest number tried; above 1 is extrapolation
    prompts_below: float  # smallest number tried / prompts
    diversity_beyond: float  # D / largest D tried
    labelling: Labelling = PLAIN

    @property
    def split(self) -> Split:
        return Split.of(self.prompts, self.responses, self.labelling)

    @property
    def raters(self) -> int | None:
        return self.labelling.raters

    def to_dict(self) -> dict[str, Any]:
        """As kept in recommendation.json; what is labelled in the plain way names no labelling."""
        found = asdict(self)
        del found["labelling"]
        return found | labelling_numbers(self.labelling)

    @property
    def extrapolated(self) -> bool:
        return max(self.prompts_beyond, self.prompts_below, self.diversity_beyond) > BEYOND


@dataclass(frozen=True)
class BetterTrial:
    """A trial within the budget whose observed reward is above what is predicted of the recommended split."""

    label: str
    cost: float
    reward: float
    reward_se: float | None
    predicted_reward: float | None  # of its split; None where its prompts were chosen


@dataclass(frozen=True)
class Recommendation:
    """The answer for one budget. Rewards are expected rewards on `scale`; splits are best first.

    Every feasible number of responses is among `splits` with the most prompts that the budget pays for, and
    with fewer. `enough` is the probability that none of them, equal or not, is better than the first by more
    than `margin`.

    Flags: `edge` the largest number of responses tried wins; `extrapolated` more prompts or diversity than
    any trial had, or fewer prompts; `unidentified` too few budget fractions for a line, so only tried splits
    are compared; `less` the best split leaves budget unspent; `fewest` it does, and no trial of as many
    responses had fewer prompts; `undecided` `enough` is under 0.95;
    `single_seed` no trial has two seeds; `raters_edge` the largest number of raters tried wins.
    """

    budget: float
    unit: str
    scale: RewardScale
    margin: float
    splits: tuple[Candidate, ...]
    runner_up: Candidate | None  # most likely better by more than the margin, of those that are not equals
    probability_better: float | None  # recommended beats the runner-up; None without one
    enough: float
    equals: tuple[Candidate, ...]  # predicted within the margin of the recommended split
    whole: Candidate | None  # the most prompts with as many responses, where the best split has fewer
    better_trials: tuple[BetterTrial, ...]
    training_length: str  # that prompts were visited unequally often, and which run would tell; or ""
    flags: dict[str, bool]
    more_seeds: int | None  # further seeds for each of the two that would separate them
    try_responses: int | None
    cost_models: tuple[CostView, ...]
    max_prompts: int | None  # that can be had; None: no limit was given
    trials: int
    seeds: int
    seed: int
    assumptions: tuple[str, ...]
    labelling: str = ""  # whose labels, of which responses, and what of that was varied, in sentences; or ""

    @property
    def best(self) -> Candidate:
        return self.splits[0]

    @property
    def by_responses(self) -> tuple[Candidate, ...]:
        """For each number of responses, and way of labelling, its best split, best first."""
        first: dict[tuple[int, Labelling], Candidate] = {}
        for split in self.splits:
            first.setdefault((split.responses, split.labelling), split)
        return tuple(first.values())

    @property
    def cheaper(self) -> Candidate | None:
        """The cheapest equal split that saves a tenth of the cost or more, and is more likely so than not.

        Of numbers of responses that were tried alone.
        """
        equals = (split for split in self.equals if split.responses_tried and split.behind < 0.5)
        found = (split for split in equals if split.cost <= 0.9 * self.best.cost)
        return min(found, key=lambda split: (split.cost, not split.tried), default=None)

    def to_dict(self) -> dict[str, Any]:
        """As kept in recommendation.json; a `probability_better` is that of the split it stands with."""
        runner = None
        if self.runner_up is not None and self.probability_better is not None:
            runner = self.runner_up.to_dict() | {"probability_better": 1 - self.probability_better}
        return {
            "budget": self.budget,
            "unit": self.unit,
            "scale": self.scale.name,
            "margin": self.margin,
            "recommended": _numbers(self.best),
            "cost": self.best.cost,
            "predicted_reward": self.best.predicted_reward,
            "interval_95": list(self.best.interval_95),
            "runner_up": runner,
            "probability_better": self.probability_better,
            "probability_none_better": self.enough,
            "equals": [{**_numbers(split), "cost": split.cost} for split in self.equals],
            "as_good_for_less": self._as_good_numbers(),
            "better_trials": [asdict(trial) for trial in self.better_trials],
            "flags": self.flags,
            "more_seeds": self.more_seeds,
            "try_responses": self.try_responses,
            "splits": [split.to_dict() for split in self.splits],
            "cost_models": [asdict(view) for view in self.cost_models],
            "max_prompts": self.max_prompts,
            "trials": self.trials,
            "seeds": self.seeds,
            "seed": self.seed,
            "assumptions": list(self.assumptions),
            **({"labelling": self.labelling} if self.labelling else {}),
            "headline": self.headline(),
            "sentence": self.sentence(),
        }

    def headline(self) -> str:
        """What to do, in one line without figures of reward."""
        choice = self.best.labelling.response_choice
        chosen = "" if choice == "random" else f"{choice} "
        label = f"label {self.best.prompts:,} prompts x {self.best.responses} {chosen}responses"
        if self.best.raters is not None:
            label += f" x {self.best.raters} rater{'s' * (self.best.raters > 1)}"
        label += _by_whom(self.best.labelling.human_share)
        if self.flags["less"]:
            return f"Spend {self.best.cost:,.10g} of {self.budget:,.10g} {self.unit}: {label}"
        return f"L{label[1:]}"

    def sentence(self) -> str:
        """The answer in plain words, with its warnings."""
        text, (low, high) = self.scale.text, self.best.interval_95
        reward = (
            f"predicted reward {text(self.best.predicted_reward)} (95% interval {text(low)} to {text(high)})"
        )
        if self.flags["less"]:
            spend = f"Spend {self.best.cost:,.10g} of {self.budget:,.10g} {self.unit}"
            first = (
                f"{spend}: label {self.best.split}; {self._more_prompts()}. It has {reward}{self._lead()}."
            )
        else:
            first = f"With {self.budget:,.10g} {self.unit} label {self.best.split}: {reward}{self._lead()}."
        said = [first, self._as_good(), self.decided(), *self.warnings(), self.labelling]
        return " ".join(part for part in said if part)

    def reading(self) -> str:
        """What stands under the headline: what does with less, whether the choice is made, whose labels."""
        more = self._more_prompts() if self.flags["less"] else ""
        words = f"{more[:1].upper()}{more[1:]}." if more else ""
        return " ".join(part for part in (words, self._as_good(), self.decided(), self.labelling) if part)

    def _more_prompts(self) -> str:
        """What these trials say of the prompts that are left out."""
        if self.whole is None or self.whole.exceeds < 1 - CONFIDENCE:
            return "more prompts do not raise the reward in these trials"
        sure = format_probability(self.whole.exceeds)
        return (
            f"more prompts are not seen to raise the reward ({self.whole.split} is better by more than "
            f"{self.margin:g} with probability {sure})"
        )

    def _as_good(self) -> str:
        """The split that costs less and is as good, in a sentence; "" where there is none."""
        if (split := self.cheaper) is None:
            return ""
        return (
            f"{split.split} for {split.cost:,.10g} {self.unit}{'' if split.tried else ' (not tried)'} is as "
            f"good within {self.margin:.3g} (probability {format_probability(1 - split.behind)})."
        )

    def _as_good_numbers(self) -> dict[str, Any] | None:
        if (split := self.cheaper) is None:
            return None
        return {**_numbers(split), "cost": split.cost, "probability_within_margin": 1 - split.behind}

    def _lead(self) -> str:
        if len(self.splits) == 1:
            return ", the only split that the budget and the trials allow"
        if self.runner_up is None or self.probability_better is None:
            return ""
        gap = self.best.predicted_reward - self.runner_up.predicted_reward
        sure = format_probability(self.probability_better)
        if gap < 0:  # only a choice of responses that is not surely better than random
            other = format_probability(1 - self.probability_better)
            return f"; {self.runner_up.split} is predicted {self.scale.text(-gap)} more (probability {other})"
        return f", ahead of {self.runner_up.split} by {self.scale.text(gap)} (probability {sure})"

    def decided(self) -> str:
        """Whether the choice is made, and among which splits it is free."""
        sure = f"better by more than {self.margin:.3g}"
        if not self.flags["undecided"]:
            first = f"Decided: no other split is {sure} (probability {format_probability(self.enough)})."
        else:
            open_ = format_probability(1 - self.enough)
            first = f"Undecided: with probability {open_} another split is {sure}; {self._who()}"
        return " ".join(part for part in (first, self._equals()) if part)

    def _who(self) -> str:
        """Which split may be better: the runner-up, an equal one, or either; and what would tell.

        Beside more likely equals a runner-up counts only where it alone would leave the choice open.
        """
        rival, equals = self.runner_up, max((split.exceeds for split in self.equals), default=0.0)
        if rival is None or (equals > rival.exceeds and rival.exceeds <= 1 - CONFIDENCE):
            return "one of its equals may be the one."
        either = "one of its equals or " if equals > rival.exceeds else ""
        sure = f"{rival.split} (probability {format_probability(rival.exceeds)})"
        return f"{either}{sure} may be the one.{self._seeds(rival)}"

    def _seeds(self, rival: Candidate) -> str:
        if self.more_seeds is None:
            return f" No sensible number of seeds would tell {rival.split} and {self.best.split} apart."
        plural = "s" if self.more_seeds > 1 else ""
        more = f"About {self.more_seeds:,} more seed{plural} of each"
        return f" {more} would tell {rival.split} and {self.best.split} apart."

    def _equals(self) -> str:
        """The equal splits but the one that the answer begins with."""
        equals = [split for split in self.equals if split is not self.cheaper]
        if not equals:
            return ""
        named = sorted(equals, key=lambda split: (not split.tried, split.cost))[:NAMED]
        shown = ", ".join(f"{s.split} for {s.cost:,.10g}{'' if s.tried else ' (not tried)'}" for s in named)
        more = f" and {len(equals) - NAMED} more" if len(equals) > NAMED else ""
        too = " too" if self.cheaper else ""
        return f"Equal within {self.margin:.3g}{too}: {shown}{more}."

    def warnings(self) -> list[str]:
        """One sentence for each thing to know before acting."""
        found = [*self._better(), *([self.training_length] if self.training_length else [])]
        if self.flags["edge"]:
            advice = f": try {self.try_responses}" if self.try_responses else ", and of what the pool has"
            found.append(f"Responses sit at the edge of what was tried{advice}.")
        if self.flags.get("raters_edge"):
            found.append("Raters sit at the edge of what was tried.")
        if self.flags["fewest"]:
            half = Split.of(max(self.best.prompts // 2, 1), self.best.responses, self.best.labelling)
            found.append(f"No trial had fewer prompts with so many responses: try {half}.")
        if self.flags["extrapolated"]:
            found.append(self._beyond())
        if self.flags["unidentified"]:
            found.append("Too few budget fractions were tried for a line, so only tried splits are compared.")
        return found

    def _better(self) -> list[str]:
        found = []
        for trial in self.better_trials:
            error = "" if trial.reward_se is None else f" ± {self.scale.text(trial.reward_se)}"
            seen = (
                f"{trial.label} had {self.scale.text(trial.reward)}{error} for {trial.cost:,.10g} {self.unit}"
            )
            why = (
                "its prompts were chosen, not drawn at random"
                if trial.predicted_reward is None
                else f"all trials together put it at {self.scale.text(trial.predicted_reward)}"
            )
            found.append(f"A trial did better than this predicts: {seen}; {why}.")
        return found

    def _beyond(self) -> str:
        best = self.best
        if best.prompts_below > BEYOND:
            times = f"{best.prompts_below:.2f} times as many prompts or more"
            return f"This lies below the trials: they had {times}."
        parts = [
            f"{times:.2f} times their {what}"
            for times, what in (
                (best.prompts_beyond, "most prompts"),
                (best.diversity_beyond, "highest diversity"),
            )
            if times > BEYOND
        ]
        return f"This reaches beyond the trials: {', '.join(parts)}."


def _numbers(split: Candidate) -> dict[str, Any]:
    """The split as JSON."""
    return {"prompts": split.prompts, "responses": split.responses, **labelling_numbers(split.labelling)}


def _by_whom(human_share: float | None) -> str:
    if human_share is None:
        return ""
    if human_share in (0, 1):
        return ", by people" if human_share else ", by a judge"
    return f", {human_share:.0%} of the prompts by people and the others by a judge"


def labelling_numbers(labelling: Labelling) -> dict[str, Any]:
    """The fields of a labelling in which it differs from the plain one."""
    plain = vars(PLAIN)
    return {name: value for name, value in vars(labelling).items() if value != plain[name]}


CONFIDENCE = 0.95
