"""No trial runs before the base model is judged, and none at all where that fails."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

from search.execution.tuning import PREPARATION, PlannedSearch, _Relay
from search.plan.step import Prepare, Step, Stop, Train, Wait
from search.study.training import BaseFirst
from search.trials.design_point import DesignPoint, Trial

TRIAL = Trial(DesignPoint(prompts=8, responses=2), (0,))


class Scripted:
    """A conductor with one trial, that remembers what it was told."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def next(self) -> Step:
        return Train(TRIAL, "the next one")

    def started(self, trial: Trial) -> None:
        self.heard.append(("started", trial))

    def finished(self, record: Any) -> None:
        self.heard.append(("finished", record))

    def failed(self, trial: Trial, reason: str) -> None:
        self.heard.append(("failed", trial, reason))


def base_first(*, known: bool = False) -> tuple[BaseFirst, Scripted, list[Any]]:
    conductor, kept = Scripted(), []
    return BaseFirst(conductor, kept.append, known=known), conductor, kept  # type: ignore[arg-type]


def of_tune(config: dict[str, Any], **result: Any) -> Any:
    return SimpleNamespace(config=config, last_result=result, local_path="the trial's folder")


def test_trials_wait_for_the_base_model() -> None:
    first, _, kept = base_first()
    assert [first.next(), first.next(), first.next()] == [Prepare(), Wait(), Wait()]
    first.prepared("its reward")
    assert kept == ["its reward"]
    assert isinstance(first.next(), Train)


def test_a_base_model_that_is_judged_already_is_not_judged_again() -> None:
    assert isinstance(base_first(known=True)[0].next(), Train)


def test_without_a_judged_base_model_nothing_is_trained() -> None:
    first, _, kept = base_first()
    first.next()
    first.unprepared("the reward model has no words")
    assert first.next() == Stop("the reward model has no words", decided=False)
    assert first.failure == "the reward model has no words" and not kept


def test_tune_is_given_the_preparation_in_place_of_a_trial() -> None:
    first, conductor, kept = base_first()
    search, relay = PlannedSearch(first, closing=lambda: None), _Relay(first)
    assert search.suggest("a") == PREPARATION
    assert search.suggest("b") is None
    relay.on_trial_start(0, [], of_tune(PREPARATION))
    relay.on_trial_complete(0, [], of_tune(PREPARATION, found="its reward"))
    assert kept == ["its reward"] and not conductor.heard
    config = search.suggest("c")
    relay.on_trial_start(0, [], of_tune(config))
    relay.on_trial_complete(0, [], of_tune(config, found="a record"))
    relay.on_trial_complete(0, [], of_tune(config, failure="out of memory"))
    assert conductor.heard == [
        ("started", TRIAL),
        ("finished", "a record"),
        ("failed", TRIAL, "out of memory"),
    ]


def test_a_preparation_that_fails_or_loses_its_process_ends_the_search() -> None:
    for end in ("told", "lost"):
        first, conductor, _ = base_first()
        ended: list[str] = []
        search = PlannedSearch(first, closing=partial(ended.append, "closed"))
        relay = _Relay(first)
        search.suggest("a")
        if end == "told":
            relay.on_trial_complete(0, [], of_tune(PREPARATION, failure="no such model"))
        else:
            relay.on_trial_error(0, [], of_tune(PREPARATION))
        assert first.failure in ("no such model", "see the trial's folder")
        assert search.suggest("b") == PlannedSearch.FINISHED and ended == ["closed"]
        assert not conductor.heard
