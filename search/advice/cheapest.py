"""The cheapest way to decide: more seeds, more held-out prompts, or longer trainings, with their time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from search.advice.recommendation import Recommendation
from search.fit.noise import NoiseBudget
from search.trials.record import TrialRecord


@dataclass(frozen=True)
class Way:
    """One way to tell the two best splits apart, and the time that it takes (hours)."""

    what: str
    hours: float


def ways_to_decide(answer: Recommendation, noise: NoiseBudget, records: Sequence[TrialRecord]) -> list[Way]:
    """Ways to separate the recommended split from the runner-up, cheapest first; none where it is decided.

    `more_seeds` seeds each would bring the variance of the gap down far enough. More held-out prompts lower
    only the part that judging adds, so they are named where that part is large enough to give as much.
    """
    if answer.more_seeds is None or answer.runner_up is None:
        return []
    each = _hours_of_training(records)
    seeds = answer.more_seeds
    found = [
        Way(f"{seeds:,} more seeds of {answer.best.split} and {answer.runner_up.split}", 2 * seeds * each)
    ]
    had = max(1, round(answer.seeds / max(answer.trials, 1)))
    wanted = noise.of_difference * had / (had + seeds)
    room = wanted - 2 * noise.training.variance
    if room > 0:
        prompts = ceil(noise.held_out * 2 * noise.judging.variance / room)
        what = f"{prompts - noise.held_out:,} more held-out prompts, with the two splits trained again"
        found.append(Way(what, 2 * had * each))
    return sorted(found, key=lambda way: way.hours)


def _hours_of_training(records: Sequence[TrialRecord]) -> float:
    """Mean time of one training with its judging (hours)."""
    trainings = sum(len(record.results) for record in records)
    return sum(record.seconds for record in records) / 3600 / max(trainings, 1)


def noise_lines(noise: NoiseBudget, ways: Sequence[Way], answer: Recommendation) -> list[str]:
    """The noise budget in sentences: what each source adds to one training, and the ways to decide."""
    total = max(noise.total, 1e-300)
    training = "training" if noise.draw else "training and draw of prompts (splits share no seeds)"
    parts = [(training, noise.training), (f"judging on {noise.held_out:,} held-out prompts", noise.judging)]
    parts += [("draw of prompts, which splits of one seed share", noise.draw)] if noise.draw else []

    def text(variance: float) -> str:
        return answer.scale.text(variance**0.5, more=1)

    found = [
        f"{name[:1].upper()}{name[1:]}: standard deviation {text(part.variance)} (95% interval "
        f"{text(part.interval_95[0])} to {text(part.interval_95[1])}), {part.variance / total:.0%} of the "
        "variance of one training."
        for name, part in parts
    ]
    if noise.draw:
        found.append(
            "Two splits with the same seed differ by a standard deviation of "
            f"{text(noise.of_difference)}; with different seeds by {text(2 * noise.total)}."
        )
    return found + [f"To decide: {way.what}, about {way.hours:.3g} hours." for way in ways]
