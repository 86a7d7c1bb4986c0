"""Hyperparameters tuned per split: which splits, by which seeds, and what the fit then sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from factories import record

from search.config.cost import PLAIN
from search.config.study import StudyConfig
from search.fit.curve import DiversityCurve
from search.plan.belief import Belief
from search.plan.plan import Plan
from search.plan.progress import Progress
from search.plan.proposals import Proposals
from search.plan.space import Space
from search.plan.step import Step, Stop, Train
from search.trials.design_point import DesignPoint, Trial

SIZES = (10, 100, 1_000, 10_000, 100_000)
CURVE = DiversityCurve(SIZES, tuple(2 * float(np.log(n)) for n in SIZES))
RATE = "trainer.learning_rate"
RATES = (1e-6, 1e-5, 1e-4)
BEST = {2: 1e-5, 3: 1e-5, 4: 1e-4}


def plan(tune: str, **search: Any) -> Plan:
    tree = {
        "budget": 4800,
        "pool": {"path": "demo"},
        "trainer": {"learning_rate": 1e-5},
        "search": {
            "budget_fractions": [0.125, 0.5, 1.0], "responses": [2, 3, 4], "tune": tune, "trials": 60,
            "space": {RATE: list(RATES)}, "hyperparameter_trials": 3, **search,
        },
    }  # fmt: skip
    return Plan(Space(StudyConfig.model_validate(tree), max_prompts=100_000), CURVE)


def reward(trial: Trial) -> float:
    """Four responses are best at 1e-4, and worse than three at 1e-5, which is best for all others."""
    point = trial.point
    off = dict(point.hyperparameters)[RATE] != BEST[point.responses]
    return 0.3 + 0.02 * point.responses + 0.01 * float(np.log(point.prompts / 1000)) - 0.05 * off


def bigger(trial: Trial) -> bool:
    """Four responses at the whole budget, at the learning rate that is their best for fewer prompts."""
    point = trial.point
    return (point.prompts, point.responses) == (1_200, 4) and dict(point.hyperparameters)[RATE] == 1e-4


class Study:
    """A study run by hand, whose proposer goes through the learning rates of a split."""

    def __init__(self, of: Plan, truth: Callable[[Trial], float] = reward) -> None:
        self.plan, self.truth, self.generator = of, truth, np.random.default_rng(3)
        self.progress, self.steps = Progress(), list[Step]()

    def propose(self, fixed: Mapping[str, Any]) -> DesignPoint:
        points = [
            self.plan.space.walk(
                lambda name, domain, r=rate: fixed.get(name, r if RATE in name else domain.middle)
            )
            for rate in RATES
        ]
        fresh = [point for point in points if point not in self.progress.seeds]
        return (fresh or points)[0]

    def run(self) -> Stop:
        while isinstance(step := self.plan.next(self.progress, self.propose), Train):
            self.steps.append(step)
            self.finish(step.trial)
        assert isinstance(step, Stop)
        return step

    def finish(self, trial: Trial) -> None:
        rewards = self.truth(trial) + self.generator.normal(0, 0.002, len(trial.seeds))
        found = record(trial, *map(float, rewards), diversity=CURVE.at(trial.point.prompts), seconds=1800)
        self.progress = Progress(finished=[*self.progress.finished, found])

    def tuned_at(self) -> dict[int, set[float]]:
        """The learning rates tried at the whole budget, by responses."""
        found: dict[int, set[float]] = {}
        for step in self.steps:
            if isinstance(step, Train) and "hyperparameters," in step.why:
                point = step.trial.point
                if point.budget_fraction == 1.0:
                    found.setdefault(point.responses, set()).add(float(dict(point.hyperparameters)[RATE]))
        return found


@pytest.fixture(scope="module")
def apart() -> Study:
    study = Study(plan("per_split"))
    study.stop = study.run()  # type: ignore[attr-defined]
    return study


def test_tuned_once_the_wrong_split_is_decided_for_and_per_split_the_right_one(apart: Study) -> None:
    once = Study(plan("once")).run()
    assert once.decided and isinstance(once.belief, Belief) and once.belief.best.responses == 3
    stop: Stop = apart.stop  # type: ignore[attr-defined]
    assert stop.decided and isinstance(stop.belief, Belief) and stop.belief.best.responses == 4


def test_only_contenders_are_tuned_at_their_own_split(apart: Study) -> None:
    tuned = apart.tuned_at()
    assert {3, 4} <= tuned.keys() and all(rates == set(RATES) for rates in tuned.values())
    far = Study(plan("per_split"), lambda trial: reward(trial) - 0.1 * (trial.point.responses == 2))
    far.run()
    assert far.tuned_at().keys() == {3, 4}


def test_seeds_that_chose_do_not_judge(apart: Study) -> None:
    tuning = apart.plan.tuning(apart.progress)
    records = apart.plan.records(apart.progress)
    for found in tuning.found():
        own = [r for r in records if r.split == found.split and not r.group]
        assert own and all(seed > 1 for r in own for seed in r.seeds)
        assert all(r.point.hyperparameters == found.best for r in own)
        assert len(found.rewards) == sum(len(r.seeds) for r in own) and len(found.once) == 2
    assert dict(tuning.own((4, PLAIN)))[RATE] == 1e-4 and dict(tuning.own((3, PLAIN)))[RATE] == 1e-5


def test_trials_of_an_earlier_best_lie_higher_or_lower(apart: Study) -> None:
    records = apart.plan.records(apart.progress)
    assert not [r for r in records if r.group]  # what is best is the same at the cheap site and the dear one
    rates = {(r.responses == 4, dict(r.point.hyperparameters)[RATE]) for r in records}
    assert rates == {(True, 1e-4), (False, 1e-5)}
    moved = Study(plan("per_split"), lambda trial: reward(trial) - 0.1 * bigger(trial))
    moved.run()
    records = moved.plan.records(moved.progress)
    assert {r.group for r in records if r.group} == {"learning_rate=0.0001 at 4 responses"}
    own = {dict(r.point.hyperparameters)[RATE] for r in records if r.responses == 4 and not r.group}
    assert own == {1e-5}
    assert all(not r.group for r in moved.plan.records_once(moved.progress))


def test_a_plan_goes_on_from_its_records_whichever_split_is_being_tuned(apart: Study) -> None:
    for done in range(6, len(apart.steps), 5):
        half = Study(plan("per_split"))
        half.progress = Progress(finished=list(apart.progress.finished[:done]))
        step = half.plan.next(half.progress, half.propose)
        expected = apart.steps[done]
        assert isinstance(step, Train) and isinstance(expected, Train) and step.trial == expected.trial


def test_nothing_is_judged_while_a_trial_that_chooses_still_runs(apart: Study) -> None:
    choosing = [n for n, step in enumerate(apart.steps) if "hyperparameters," in getattr(step, "why", "")]
    last = choosing[-1]
    running = apart.steps[last]
    assert isinstance(running, Train)
    labels = running.trial.point.responses, running.trial.point.labelling
    finished = list(apart.progress.finished[:last])
    waiting = Progress(finished=finished, running=[running.trial])
    tuning = apart.plan.tuning(waiting)
    assert tuning.best(tuning.whole(labels)) is None
    assert not isinstance(apart.plan.next(waiting, Study(plan("per_split")).propose), Stop)


def test_optuna_learns_each_number_of_responses_apart() -> None:
    of = plan("per_split", space={RATE: {"low": 1e-6, "high": 1e-4, "log": True}})
    proposals = Proposals(of.space, identity="study", url="")
    point = proposals.propose({"responses": 4})
    proposals.start("a", Trial(point, (0,)))
    proposals.finish("a", 0.5)
    (trial,) = proposals.trials
    assert f"{RATE} at 4 responses" in trial.params and RATE not in trial.params
    assert point.hyperparameters == ((RATE, trial.params[f"{RATE} at 4 responses"]),)
    assert proposals.holds(point)


@pytest.mark.parametrize("search", [{"space": {}}, {"plan": "grid"}])
def test_there_must_be_something_to_tune_per_split(search: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match='search.tune is "per_split", which needs'):
        plan("per_split", **search)
