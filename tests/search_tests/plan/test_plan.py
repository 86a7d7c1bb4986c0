"""The plan: what it trains and in which order, when it stops, and what it never does. No Ray, no training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from factories import planned, record

from search.config.study import StudyConfig
from search.fit.curve import DiversityCurve
from search.plan.belief import Belief
from search.plan.pilot import pilot
from search.plan.plan import Plan, seeded
from search.plan.progress import Progress
from search.plan.space import Space
from search.plan.step import Step, Stop, Train, Wait
from search.trials.design_point import DesignPoint, Trial

SIZES = (10, 100, 1_000, 10_000, 100_000)
CURVE = DiversityCurve(SIZES, tuple(2 * float(np.log(n)) for n in SIZES))


def plan(*, budget: float = 4800, max_prompts: int = 100_000, **search: Any) -> Plan:
    tree = {
        "budget": budget,
        "pool": {"path": "demo"},
        "search": {"budget_fractions": [0.125, 0.5, 1.0], **search},
    }
    return Plan(Space(StudyConfig.model_validate(tree), max_prompts=max_prompts), CURVE)


def first_place(of: Plan) -> Callable[[Mapping[str, Any]], DesignPoint]:
    """A proposer without an opinion: the first value of whatever is not fixed."""

    def propose(fixed: Mapping[str, Any]) -> DesignPoint:
        return of.space.walk(lambda name, domain: fixed.get(name, domain.middle))

    return propose


class Study:
    """A study run by hand, one trial at a time, with Gaussian noise about a truth."""

    def __init__(self, of: Plan, reward: Callable[[Trial], float], noise: float = 0.003) -> None:
        self.plan, self.reward, self.noise = of, reward, noise
        self.generator = np.random.default_rng(3)
        self.progress = Progress()
        self.steps: list[Step] = []

    def next(self) -> Step:
        self.steps.append(self.plan.next(self.progress, first_place(self.plan)))
        return self.steps[-1]

    def finish(self, trial: Trial) -> None:
        noise = self.generator.normal(0, self.noise, len(trial.seeds))
        rewards = [float(self.reward(trial) + e) for e in noise]
        tokens = 1000 // len(rewards)
        found = record(
            trial, *rewards, diversity=CURVE.at(trial.point.prompts), trained_tokens=tokens, seconds=1800
        )
        self.progress = Progress(finished=[*self.progress.finished, found])

    def run(self) -> Stop:
        while isinstance(step := self.next(), Train):
            self.finish(step.trial)
        assert isinstance(step, Stop)
        return step

    @property
    def trained(self) -> list[Trial]:
        return [step.trial for step in self.steps if isinstance(step, Train)]

    @property
    def points(self) -> list[DesignPoint]:
        return [trial.point for trial in self.trained]


def rising(trial: Trial) -> float:
    """More responses win clearly."""
    return 0.3 + 0.02 * trial.point.responses + 0.01 * float(np.log(trial.point.prompts / 1000))


def equal(trial: Trial) -> float:
    """All splits of one budget are worth the same."""
    return 0.4 + 0.01 * float(np.log(trial.point.prompts * trial.point.responses / 1000))


def test_cheap_spends_come_first_and_cover_every_number_of_responses() -> None:
    study = Study(plan(), rising)
    study.run()
    assert [(p.responses, p.budget_fraction) for p in study.points[:6]] == [
        (2, 0.125), (3, 0.125), (4, 0.125), (2, 0.5), (3, 0.5), (4, 0.5),
    ]  # fmt: skip
    assert study.points[6].budget_fraction == 1.0


def test_it_stops_when_the_best_is_separated_and_both_were_trained_at_the_whole_budget() -> None:
    study = Study(plan(), rising)
    stop = study.run()
    assert stop.decided and stop.reason.startswith("decided: 1,200 x 4 leads 1,600 x 3")
    whole = {p.responses for p in study.points if p.budget_fraction == 1.0}
    assert {3, 4} <= whole and len(study.trained) < 24


def test_splits_that_differ_in_prompts_alone_are_told_apart_by_their_own_trials() -> None:
    study = Study(plan(trials=30, budget_fractions=[0.125, 0.25, 0.5, 1.0]), level_at_four, noise=0.01)
    study.run()
    seen = 0
    for step in study.steps:
        if isinstance(step, Train) and isinstance(step.belief, Belief) and "more seeds" in step.why:
            best, second = step.belief.best, step.belief.runner_up
            if second is not None and second.responses == best.responses:
                seen += 1
                point = step.trial.point
                assert point.split in (best, second) or point.budget_fraction == 1.0
    assert seen


def level_at_four(trial: Trial) -> float:
    """Four responses win, and hardly gain by more prompts."""
    return 0.3 + 0.05 * trial.point.responses + 0.001 * float(np.log(trial.point.prompts / 1000))


def test_it_stops_at_splits_that_are_equal_within_the_margin_and_says_so() -> None:
    stop = Study(plan(practical_margin=0.01, trials=60), equal).run()
    assert stop.decided and "search.practical_margin" in stop.reason


def test_no_split_is_trained_twice_with_one_seed() -> None:
    study = Study(plan(trials=14, confidence=0.999, practical_margin=0), equal)
    stop = study.run()
    seeds = [(p.point, seed) for p in study.trained for seed in p.seeds]
    assert not stop.decided and "search.trials (14) is reached" in stop.reason
    assert len(study.trained) == 14 and len(seeds) == 28 == len(set(seeds))


@pytest.mark.parametrize(
    ("limit", "trials"),
    [({"max_tokens": 3000}, 3), ({"max_hours": 2}, 4), ({"max_cost": 5, "price_per_hour": 2}, 5)],
)
def test_every_limit_ends_the_study_with_its_name(limit: dict[str, Any], trials: int) -> None:
    study = Study(plan(confidence=0.999, **limit), equal)
    stop = study.run()
    assert not stop.decided and f"search.{next(iter(limit))}" in stop.reason
    assert len(study.trained) == trials


def test_more_seeds_for_a_pilot_place_hold_up_nobody() -> None:
    study = Study(plan(budget_fractions=[0.5, 1.0]), equal, noise=0.05)
    points = pilot(study.plan.space, ())
    for point in points:
        study.finish(seeded(study.plan.config, point, []))
    again = seeded(study.plan.config, points[-1], range(5))
    study.progress = Progress(finished=study.progress.finished, running=[again])
    assert isinstance(study.next(), Train)


def test_the_pilot_is_small_where_there_are_many_responses_and_ways_of_drawing() -> None:
    many = plan(responses=list(range(2, 17)), selections=["random", "diverse"], strengths=[0.5, 1.0])
    points = pilot(many.space, ())
    assert len({p.responses for p in points}) == 5 and {2, 16} <= {p.responses for p in points}
    assert len(points) == 12
    assert [(p.selection, p.strength) for p in points[-2:]] == [("diverse", 0.5), ("diverse", 1.0)]


def test_with_two_spends_the_ends_identify_the_line() -> None:
    points = pilot(plan(budget_fractions=[0.5, 1.0]).space, ())
    assert [(p.responses, p.budget_fraction) for p in points] == [
        (2, 0.5),
        (3, 0.5),
        (4, 0.5),
        (2, 1.0),
        (4, 1.0),
    ]


def test_trials_run_side_by_side_and_nothing_is_decided_before_they_end() -> None:
    study = Study(plan(), rising)
    running: list[Trial] = []
    while isinstance(step := study.plan.next(Progress(running=running), first_place(study.plan)), Train):
        running.append(step.trial)
    assert isinstance(step, Wait)
    assert [p.point for p in running] == pilot(study.plan.space, ()), (
        "the pilot and nothing else, each point once"
    )


def test_confirmation_runs_two_trials_at_a_time() -> None:
    study = Study(plan(proposals=0, confidence=0.999), equal)
    while len(study.progress.finished) < 6:
        step = study.next()
        assert isinstance(step, Train)
        study.finish(step.trial)
    running: list[Trial] = []
    finished = study.progress.finished
    while isinstance(
        step := study.plan.next(Progress(finished=finished, running=running), first_place(study.plan)), Train
    ):
        running.append(step.trial)
    assert (
        isinstance(step, Wait)
        and len(running) == 2
        and {trial.point.budget_fraction for trial in running} == {1.0}
    )


def test_a_failed_place_is_tried_once_more_with_other_seeds_and_then_given_up() -> None:
    study = Study(plan(), rising)
    failed: list[Trial] = []
    for _ in range(3):
        step = study.next()
        assert isinstance(step, Train)
        failed.append(step.trial)
        study.progress = Progress(failed=failed)
    assert failed[0].point == failed[1].point != failed[2].point
    assert not set(failed[0].seeds) & set(failed[1].seeds)


def test_a_place_that_always_fails_ends_the_study_instead_of_going_round() -> None:
    study = Study(plan(trials=100), equal, noise=0.02)
    failed: list[Trial] = []
    while isinstance(step := study.plan.next(study.progress, first_place(study.plan)), Train):
        if step.trial.point.budget_fraction == 1.0:
            failed.append(step.trial)
        else:
            study.finish(step.trial)
        study.progress = Progress(finished=study.progress.finished, failed=failed)
        assert len(failed) < 12
    assert isinstance(step, Stop) and not step.decided and "cannot be trained" in step.reason


def test_what_was_interrupted_goes_on_first() -> None:
    study = Study(plan(), rising)
    left = planned(1200, 4, budget_fraction=1.0)
    step = study.plan.next(Progress(interrupted=[left]), first_place(study.plan))
    assert isinstance(step, Train) and step.trial == left
    study.finish(left)
    again = study.plan.next(
        Progress(finished=study.progress.finished, interrupted=[left]), first_place(study.plan)
    )
    assert isinstance(again, Train) and again.trial != left
    elsewhere = Progress(earlier=study.progress.finished, interrupted=[left])
    new = study.plan.next(elsewhere, first_place(study.plan))
    assert isinstance(new, Train) and new.trial != left, "someone else has trained it meanwhile"


def test_a_plan_goes_on_from_its_records_as_if_nothing_had_happened() -> None:
    whole = Study(plan(), rising)
    whole.run()
    half = Study(plan(), rising)
    half.progress = Progress(finished=list(whole.progress.finished[:7]))
    step = half.next()
    assert isinstance(step, Train) and step.trial == whole.trained[7]


def test_settings_are_compared_at_one_split_and_the_answer_holds_for_the_best() -> None:
    of = plan(space={"trainer.algorithm.name": ["sft", "pro"]}, hyperparameter_trials=2)

    def reward(trial: Trial) -> float:
        worse = 0.1 if dict(trial.point.hyperparameters)["trainer.algorithm.name"] == "pro" else 0.0
        return rising(trial) - worse

    study = Study(of, reward)

    def propose(fixed: Mapping[str, Any]) -> DesignPoint:
        known = {"trainer.algorithm.name": "sft"} | dict(fixed)
        return of.space.walk(lambda name, domain: known.get(name, domain.middle))

    while isinstance(step := of.next(study.progress, propose), Train):
        study.steps.append(step)
        study.finish(step.trial)
    anchor = study.points[:2]
    assert {dict(p.hyperparameters)["trainer.algorithm.name"] for p in anchor} == {"pro", "sft"}
    assert len({p.split for p in anchor}) == 1
    assert of.hyperparameters(study.progress) == (("trainer.algorithm.name", "sft"),)
    assert {record.hyperparameters["trainer.algorithm.name"] for record in of.records(study.progress)} == {
        "sft"
    }
    assert {dict(p.hyperparameters)["trainer.algorithm.name"] for p in study.points[2:]} == {"sft"}


def test_later_seeds_never_turn_the_study_to_another_setting() -> None:
    of = plan(space={"trainer.algorithm.name": ["sft", "pro"]}, hyperparameter_trials=2)
    anchor = pilot(of.space, of.space.default_hyperparameters)[4]
    values = {"sft": (0.5, 0.2), "pro": (0.4, 0.4)}
    study = Study(
        of,
        lambda trial: values[dict(trial.point.hyperparameters)["trainer.algorithm.name"]][trial.seeds[0] > 1],
        0,
    )
    for name in values:
        point = of.space.point(
            anchor.responses, anchor.budget_fraction, hyperparameters=(("trainer.algorithm.name", name),)
        )
        study.finish(seeded(of.config, point, ()))
    assert dict(of.hyperparameters(study.progress))["trainer.algorithm.name"] == "sft"
    best = of.space.point(
        anchor.responses, anchor.budget_fraction, hyperparameters=(("trainer.algorithm.name", "sft"),)
    )
    study.finish(seeded(of.config, best, (0, 1)))
    assert dict(of.hyperparameters(study.progress))["trainer.algorithm.name"] == "sft"


def test_the_grid_trains_every_place_once_and_then_stops() -> None:
    study = Study(plan(plan="grid"), rising)
    stop = study.run()
    assert [p.point for p in study.trained] == study.plan.space.grid()
    assert "every point of the grid is trained" in stop.reason or stop.decided


def test_a_grid_trains_the_seeds_that_its_points_lack_wherever_the_others_were_trained() -> None:
    of = plan(plan="grid", responses=[4], budget_fractions=[0.5, 1.0], seeds=3)
    half, whole = (of.space.point(4, fraction) for fraction in (0.5, 1.0))
    elsewhere = [record(Trial(whole, (0,)), 0.5), record(Trial(half, (0, 1, 2)), 0.4, 0.4, 0.4)]
    known = Progress(earlier=elsewhere)
    assert list(of.grid_left(known)) == [Trial(whole, (1, 2))]
    running = Progress(earlier=elsewhere, running=[Trial(whole, (1, 2))])
    assert not list(of.grid_left(running))
    done = Progress(earlier=elsewhere, finished=[record(Trial(whole, (1, 2)), 0.5, 0.6)])
    assert not list(of.grid_left(done))


def test_rewards_that_are_all_the_same_end_the_study_with_that_reason() -> None:
    study = Study(plan(trials=24), lambda trial: 0.5, noise=0.0)
    stop = study.run()
    assert not stop.decided and "same reward" in stop.reason and len(study.trained) < 10


def with_raters(trial: Trial, gain: float) -> float:
    """More responses win clearly; each doubling of raters adds `gain`, a doubling of prompts 0.007."""
    return rising(trial) + gain * float(np.log2(trial.point.raters or 1))


@pytest.mark.parametrize(("gain", "raters"), [(0.03, 3), (0.0, 1)])
def test_raters_are_piloted_and_decided_like_responses(gain: float, raters: int) -> None:
    study = Study(plan(raters=[1, 3], agreement=0.75, trials=40), lambda trial: with_raters(trial, gain))
    stop = study.run()
    few = [point for point in study.points[:8] if point.raters == 3]
    assert len(few) == 2 and {point.budget_fraction for point in few} == {0.125, 0.5}
    for point in study.points:
        spent = point.prompts * point.responses * (point.raters or 0)
        assert spent <= 4800 * (point.budget_fraction or 0)
    assert isinstance(stop.belief, Belief) and stop.belief.best.raters == raters and stop.decided


def test_raters_that_are_no_longer_asked_for_are_not_answered_with() -> None:
    """A study that goes on with fewer numbers of raters keeps its trials and answers what is asked now."""
    study = Study(plan(raters=[1, 3], agreement=0.75, trials=40), lambda trial: with_raters(trial, 0.03))
    study.run()
    study.plan = plan(raters=[1], agreement=0.75, trials=60)
    stop = study.run()
    assert isinstance(stop.belief, Belief) and stop.belief.best.raters == 1


def test_optuna_proposes_raters_where_several_are_tried() -> None:
    space = plan(raters=[1, 3], agreement=0.75).space
    named: list[str] = []
    point = space.walk(lambda name, domain: named.append(name) or domain.middle)  # type: ignore[func-returns-value]
    assert "raters" in named and point.raters == 1
    named.clear()
    plan().space.walk(lambda name, domain: named.append(name) or domain.middle)  # type: ignore[func-returns-value]
    assert "raters" not in named


def chosen(trial: Trial, gain: float) -> float:
    return rising(trial) + gain * (trial.point.response_choice == "spread")


@pytest.mark.parametrize(("gain", "choice"), [(0.03, "spread"), (-0.03, "random")])
def test_choices_of_responses_are_piloted_and_decided_at_equal_cost(gain: float, choice: str) -> None:
    study = Study(plan(response_choices=["random", "spread"], trials=40), lambda trial: chosen(trial, gain))
    stop = study.run()
    spread = [point for point in study.points[:8] if point.response_choice == "spread"]
    assert len(spread) == 2 and len({point.budget_fraction for point in spread}) == 2
    assert isinstance(stop.belief, Belief) and stop.decided
    assert stop.belief.best.response_choice == choice


def test_optuna_proposes_choices_of_responses_where_several_are_tried() -> None:
    space = plan(response_choices=["random", "spread"]).space
    named: list[str] = []
    space.walk(lambda name, domain: named.append(name) or domain.middle)  # type: ignore[func-returns-value]
    assert "response_choice" in named and "raters" not in named
    assert {point.response_choice for point in space.grid()} == {"random", "spread"}
