"""Where the noise of a trial comes from, and the cheapest way to tell the two best splits apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from search.advice.recommendation import Recommendation
from search.config.cost import Split
from search.config.scale import RewardScale
from search.fit.fit import Fit
from search.fit.lengths import length_lines
from search.fit.noise import FEWEST_DF, Component, NoiseBudget, held_out_part, noise_budget, trainings_of
from search.fit.question import Question, predict
from search.fit.ways import BEYOND_REASON, MOST, Way, gap_of, held_out_between
from search.trials.record import TrialRecord


@dataclass(frozen=True, kw_only=True)
class NoiseAdvice:
    """The noise budget of a study's trials, and ways to decide, cheapest first.

    `held_out` is what the gap between the best split and the runner-up owes to the prompts held out, None
    where that cannot be told. No `ways` where it is decided, or where the budget is not known.
    """

    budget: NoiseBudget
    held_out: Component | None
    ways: tuple[Way, ...]
    lines: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """As kept in recommendation.json."""
        return {
            **self.budget.to_dict(),
            "held_out_part": asdict(self.held_out) if self.held_out else None,
            "ways": [asdict(way) for way in self.ways],
            "lines": list(self.lines),
        }


def advise_on_noise(
    fit: Fit, question: Question, answer: Recommendation, others: Sequence[TrialRecord] = ()
) -> NoiseAdvice | None:
    """None where no seeds' rewards are known prompt by prompt, or none is repeated.

    `others` are the study's trials under other hyperparameters.
    """
    trainings = trainings_of(fit.records)
    noise = noise_budget(trainings)
    if noise is None:
        return None
    if not noise.known:
        return NoiseAdvice(budget=noise, held_out=None, ways=(), lines=(_too_few(noise),))
    lines, pair = _sources(noise, fit.scale), _pair(answer)
    if pair is None:
        return NoiseAdvice(budget=noise, held_out=None, ways=(), lines=tuple(lines))
    own = held_out_between(pair, trainings, fit.records)
    floor = own or held_out_part(trainings)
    lines += [_stays(floor, noise, fit.scale, "the two best" if own else "any two")] if floor else []
    if not answer.flags["undecided"]:
        return NoiseAdvice(budget=noise, held_out=floor, ways=(), lines=tuple(lines))
    variance = fit.ensemble.seed_variance if fit.ensemble else fit.observed.noise_variance
    gap = gap_of(pair, predict(fit, pair, question.curve), variance or 0.0, noise, floor, fit.records)
    ways = gap.ways() if gap else []
    lines += [f"To decide: {way.sentence()}." for way in ways] or [_no_way(answer)]
    lines += length_lines(fit.records, others, pair, fit.scale)
    return NoiseAdvice(budget=noise, held_out=floor, ways=tuple(ways), lines=tuple(lines))


def _pair(answer: Recommendation) -> tuple[Split, Split] | None:
    """The recommended split and the runner-up."""
    return None if answer.runner_up is None else (answer.best.split, answer.runner_up.split)


def _no_way(answer: Recommendation) -> str:
    here = ", though more seeds would on the prompts held out now" if answer.more_seeds else ""
    return (
        f"Not even {BEYOND_REASON} more seeds of each on {MOST} times as many held-out prompts would tell "
        f"the two apart{here}."
    )


def _too_few(noise: NoiseBudget) -> str:
    df = noise.training.df
    return (
        f"Too few repeated trainings to say where the noise comes from: the {noise.trainings} that are known "
        f"prompt by prompt leave {df:.0f} degree{'s' * (df > 1)} of freedom, and with fewer than {FEWEST_DF} "
        "a standard deviation is not known within a factor of 3."
    )


def _sources(noise: NoiseBudget, scale: RewardScale) -> list[str]:
    """What each source adds to one training, and what sharing seeds between splits does."""
    training = "Training" if noise.draw else "Training and draw of prompts (not all splits share two seeds)"
    judging = f"Judging on {noise.held_out:,} held-out prompts"
    parts = [(training, noise.training, 1 - noise.judged), (judging, noise.judging, noise.judged)]
    found = [
        f"{name}: standard deviation {_deviation(part, scale)}, {share:.0%} of what two splits vary by."
        for name, part, share in parts
    ]
    if noise.draw is None:
        return found
    known = "standard deviation " if noise.draw.known else "too few seeds to tell, "
    return [
        *found,
        f"Draw of prompts, which splits of one seed share: {known}{_deviation(noise.draw, scale)}.",
        "Two splits with the same seed differ by a standard deviation of "
        f"{scale.text(noise.of_difference**0.5, more=1)}, with different seeds by "
        f"{scale.text(noise.apart**0.5, more=1)}.",
    ]


def _stays(part: Component, noise: NoiseBudget, scale: RewardScale, which: str) -> str:
    return (
        f"Some of the {noise.held_out:,} held-out prompts suit one split more than another: the gap between "
        f"{which} has a standard deviation of {_deviation(part, scale)} by that, however many the seeds; "
        "only more held-out prompts lower it."
    )


def _deviation(part: Component, scale: RewardScale) -> str:
    """A standard deviation with its interval; the interval alone where no figure is known."""
    low, high = (scale.text(bound**0.5, more=1) for bound in part.interval_95)
    if not part.known:
        return f"{low} to {high}"
    return f"{scale.text(part.variance**0.5, more=1)} (95% interval {low} to {high})"
