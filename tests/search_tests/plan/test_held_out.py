"""The plan buys no seeds where the held-out prompts leave nothing to tell, and names the cheapest way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from factories import record

from search.config.study import StudyConfig
from search.fit.curve import DiversityCurve
from search.plan.plan import Plan
from search.plan.progress import Progress
from search.plan.space import Space
from search.plan.step import Stop, Train
from search.trials.design_point import DesignPoint, Trial
from search.trials.record import TrialRecord

SIZES = (10, 100, 1_000, 10_000)
CURVE = DiversityCurve(SIZES, tuple(2 * float(np.log(n)) for n in SIZES))
PROMPTS, TRAINING, JUDGING = 100, 0.004, 0.1


def plan(**search: Any) -> Plan:
    tree = {
        "budget": 4800,
        "pool": {"path": "demo"},
        "search": {"responses": [2, 4], "budget_fractions": [0.25, 1.0], "trials": 16, "seeds": 4, **search},
    }
    return Plan(Space(StudyConfig.model_validate(tree), max_prompts=10_000), CURVE)


def judged(suits: float, by_prompt: bool = True) -> Callable[[Trial], TrialRecord]:
    """Trains nothing: splits that are worth the same, but that held-out prompts suit one of them more.

    How much is drawn once for each split, with the standard deviation `suits` on one prompt and a mean of
    0.001 over those held out.
    """
    generator, liked = np.random.default_rng(2), dict[DesignPoint, Any]()

    def train(trial: Trial) -> TrialRecord:
        if trial.point not in liked:
            drawn = generator.normal(0, suits, PROMPTS)
            liked[trial.point] = drawn - drawn.mean() + 0.001 * (trial.point.responses == 4)
        amount = trial.point.prompts * trial.point.responses
        level = 0.4 + 0.005 * np.log(amount / 1000) + liked[trial.point]
        rewards = [
            level + generator.normal(0, TRAINING) + generator.normal(0, JUDGING, PROMPTS) for _ in trial.seeds
        ]
        means = [float(each.mean()) for each in rewards]
        made = record(trial, *means, diversity=CURVE.at(trial.point.prompts), seconds=1800, rewards=())
        if not by_prompt:
            return made
        results = zip(made.results, rewards, strict=True)
        return replace(made, results=tuple(replace(one, rewards=tuple(map(float, r))) for one, r in results))

    return train


def run(of: Plan, train: Callable[[Trial], TrialRecord]) -> tuple[Stop, int]:
    """The end of a study that runs one trial at a time, and how many there were."""

    def propose(fixed: Mapping[str, Any]) -> DesignPoint:
        return of.space.walk(lambda name, domain: fixed.get(name, domain.middle))

    progress = Progress()
    while isinstance(step := of.next(progress, propose), Train):
        progress = Progress(finished=[*progress.finished, train(step.trial)])
    assert isinstance(step, Stop)
    return step, len(progress.finished)


def test_where_held_out_prompts_dominate_it_stops_buying_seeds_and_names_the_cheapest_way() -> None:
    # The gap is 0.001, and the prompts alone give it a standard deviation of 0.04.
    stop, trials = run(plan(practical_margin=0.0), judged(suits=0.3))
    assert not stop.decided and trials < 16
    assert "more seeds cannot tell" in stop.reason and "100 held-out prompts alone" in stop.reason


@pytest.mark.parametrize(("suits", "by_prompt"), [(0.0, True), (0.3, False)])
def test_seeds_are_bought_where_they_tell_or_nothing_says_that_they_do_not(
    suits: float, by_prompt: bool
) -> None:
    stop, trials = run(plan(practical_margin=0.0, confidence=0.999), judged(suits, by_prompt))
    assert "more seeds cannot tell" not in stop.reason
    assert stop.decided or trials == 16


def test_rewards_prompt_by_prompt_change_no_step_where_judging_is_fair() -> None:
    of = [run(plan(trials=14, practical_margin=0.0), judged(0.0, by_prompt)) for by_prompt in (True, False)]
    assert of[0][1] == of[1][1]
    assert of[0][0].reason.startswith(of[1][0].reason)


def test_a_limit_names_the_cheapest_way_where_it_can_be_told() -> None:
    asked = {"trials": 9, "confidence": 0.999, "practical_margin": 0.0}
    stop, _ = run(plan(**asked), judged(0.0))
    assert "search.trials (9) is reached" in stop.reason
    assert "; the cheapest way to decide: " in stop.reason and "hours" in stop.reason
    stop, _ = run(plan(**asked), judged(0.0, by_prompt=False))
    assert "search.trials (9) is reached" in stop.reason and "cheapest" not in stop.reason
