"""Trials under other settings: which, how many, when they stop. No Ray, no training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from factories import planned, record

from search.config.load import load_config
from search.config.study import StudyConfig
from search.fit.curve import DiversityCurve
from search.plan.plan import Plan
from search.plan.progress import Progress
from search.plan.space import Space
from search.plan.step import Train, Wait
from search.plan.transfer import TransferPlan, under
from search.trials.design_point import Trial
from search.trials.record import TrialRecord

SIZES = (10, 100, 1_000, 10_000, 100_000)
CURVE = DiversityCurve(SIZES, tuple(2 * float(np.log(n)) for n in SIZES))
GENERATOR = np.random.default_rng(5)


def plan(transfer: Mapping[str, Any], **search: Any) -> Plan:
    tree = {"budget": 4800, "pool": {"path": "demo"}, "transfer": transfer}
    tree |= {"search": {"budget_fractions": [0.125, 0.5, 1.0], **search}}
    return Plan(Space(StudyConfig.model_validate(tree), max_prompts=100_000), CURVE)


def rising(trial: Trial) -> float:
    return 0.3 + 0.02 * trial.point.responses + 0.01 * float(np.log(trial.point.prompts / 1000))


def falling(trial: Trial) -> float:
    return 0.5 - 0.02 * trial.point.responses


def trained(trial: Trial, reward: Callable[[Trial], float], noise: float = 0.002) -> TrialRecord:
    rewards = [float(reward(trial) + GENERATOR.normal(0, noise)) for _ in trial.seeds]
    return record(trial, *rewards, diversity=CURVE.at(trial.point.prompts), seconds=1800, trained_tokens=500)


def searched(of: Plan) -> Progress:
    """The study's own search, every point of its grid trained: four responses win."""
    return Progress(finished=[trained(Trial(point, (0, 1)), rising) for point in of.space.grid()])


def elsewhere(of: Plan, reward: Callable[[Trial], float], noise: float = 0.002) -> list[TrialRecord]:
    """All trials under other settings, one at a time."""
    own, found, of_transfer = searched(of), list[TrialRecord](), TransferPlan(of)
    while isinstance(step := of_transfer.next(own, Progress(finished=found)), Train):
        found.append(trained(step.trial, reward, noise))
        assert len(found) < 60
    assert step is None
    return found


def test_the_contenders_are_trained_under_each_setting_with_that_one_thing_changed() -> None:
    found = elsewhere(plan({"algorithms": ["sft"], "lrs": [1e-6]}), rising)
    tags = [one.point.transfer for one in found]
    assert tags == ["algorithm sft"] * 3 + ["learning rate 1e-06"] * 3
    assert {one.responses for one in found[:3]} == {2, 3, 4} and found[0].split.responses == 4
    assert found[0].point.hyperparameters == (("trainer.algorithm.name", "sft"),)
    assert found[3].point.hyperparameters == (("trainer.learning_rate", 1e-6),)
    assert {one.seeds for one in found} == {(0, 1)}


def test_a_clear_reversal_stops_as_soon_as_it_is_clear() -> None:
    found = elsewhere(plan({"algorithms": ["sft"]}), falling, noise=0.001)
    assert 3 <= len(found) <= 5


def test_contenders_keep_their_raters_and_are_believed_with_them() -> None:
    of = plan({"algorithms": ["sft"]}, raters=[1, 3], agreement=0.75)
    raters = {point.raters for point in TransferPlan(of).contenders(searched(of))}
    found = elsewhere(of, falling, noise=0.001)
    assert {one.point.raters for one in found} == raters and 3 <= len(found) <= 5


def test_what_stays_open_gets_more_seeds_of_the_two_that_matter_up_to_the_limit() -> None:
    found = elsewhere(plan({"algorithms": ["sft"], "trials": 7}), lambda trial: 0.5, noise=0.05)
    assert len(found) == 7
    seeds = [(one.point, seed) for one in found for seed in one.seeds]
    assert len(seeds) == 14 == len(set(seeds))
    first = found[0].point
    assert sum(one.point == first for one in found) >= 2


def test_trials_of_earlier_contenders_hold_up_nobody() -> None:
    of = plan({"algorithms": ["sft"], "trials": 12})
    own, setting = searched(of), TransferPlan(of).settings[0]
    old = trained(Trial(under(setting, of.space.grid()[-1]), (0, 1)), lambda trial: 0.5, 0.05)
    contenders = TransferPlan(of).contenders(own)
    new = [trained(Trial(under(setting, p), (0, 1)), lambda trial: 0.5, 0.05) for p in contenders]
    step = TransferPlan(of).next(own, Progress(finished=[old, *new]))
    assert isinstance(step, Train) and step.trial.seeds == (2, 3)


def test_without_settings_or_advice_nothing_is_trained() -> None:
    quiet = plan({})
    assert TransferPlan(quiet).next(searched(quiet), Progress()) is None
    early = plan({"algorithms": ["sft"]})
    assert TransferPlan(early).next(Progress(), Progress()) is None


def test_limits_of_the_study_hold_for_all_trials_together() -> None:
    of = plan({"algorithms": ["sft"]}, max_hours=6)
    own = searched(of)
    assert len(own.finished) * 0.5 < 6
    there = Progress(finished=[trained(planned(10, 2, transfer="algorithm sft"), rising) for _ in range(4)])
    assert isinstance(TransferPlan(of).next(own, Progress()), Train)
    assert TransferPlan(of).next(own, there) is None


def test_settings_run_side_by_side_and_each_waits_for_its_own_first_look() -> None:
    of = plan({"algorithms": ["sft"], "lrs": [1e-6]})
    own, running = searched(of), list[Trial]()
    while isinstance(step := TransferPlan(of).next(own, Progress(running=running)), Train):
        running.append(step.trial)
    assert isinstance(step, Wait) and len(running) == 6


def test_a_split_that_always_fails_there_ends_that_setting() -> None:
    of = plan({"algorithms": ["sft"]})
    own, failed = searched(of), list[Trial]()
    while isinstance(step := TransferPlan(of).next(own, Progress(failed=failed)), Train):
        failed.append(step.trial)
        assert len(failed) < 9
    assert step is None and len(failed) == 6


def test_the_studys_own_trials_keep_the_keys_that_they_had() -> None:
    own = planned(10, 2)
    assert own.key("study") == "d75edd22c5ef" and "transfer" not in own.to_dict()["point"]
    other = planned(10, 2, transfer="algorithm sft")
    assert other.key("study") != own.key("study") and Trial.from_dict(other.to_dict()) == other


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"transfer": {"algorithms": ["pro"]}}, "transfer.algorithms holds 'pro', which is the study's own"),
        ({"transfer": {"lrs": [1e-5, 1e-5]}}, "transfer.lrs holds 1e-05 twice"),
        ({"transfer": {"pairings": ["all"]}}, 'name "pro" draws no pairs: only dpo and simpo do'),
        ({"transfer": {"algorithms": ["ppo"]}}, "ppo"),
        ({"transfer": {"lrs": [-1.0]}}, "transfer.lrs holds -1.0: "),
        (
            {"transfer": {"steps": [9]}, "trainer": {"matching": "epochs", "epochs": 1}},
            'trainer.matching is "epochs"',
        ),
        (
            {
                "transfer": {"algorithms": ["pro"]},
                "trainer": {"algorithm": {"name": "sft"}},
                "search": {"responses": [1, 2]},
            },
            "needs at least 2",
        ),
    ],
)
def test_a_setting_that_cannot_be_tried_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        StudyConfig.model_validate({"budget": 4800, "pool": {"path": "demo"}, **changes})


def test_the_shipped_configuration_tries_two_algorithms_and_a_learning_rate() -> None:
    config = load_config("transfer.yaml")
    names = [setting.name for setting in config.transfer.settings]
    assert names == ["algorithm dpo", "algorithm pro", "learning rate 5e-05"]
    assert config.trainer.algorithm.pairing == "best_worst"
