"""What is written down when a trial starts, ends or fails, and what an earlier run's trials count for."""

from __future__ import annotations

from pathlib import Path

import pytest
from factories import record
from rich.console import Console

from search.config.study import StudyConfig
from search.plan.plan import seeded
from search.plan.space import Space
from search.study.folder import StudyFolder
from search.study.ledger import Ledger
from search.terminal.display import Display
from search.tracking.tracker import MemoryTracker
from search.trials.design_point import Trial
from search.trials.record import TrialRecord
from search.trials.trials_csv import read_trials
from trainers.spec import Prepared

CONFIG = StudyConfig.model_validate(
    {
        "budget": 48,
        "pool": {"path": "demo"},
        "search": {"responses": [2, 4], "budget_fractions": [1.0], "trials": 2, "seeds": 2},
    }
)


class Book:
    """A ledger in a folder, with the tracker in memory and the terminal in a string."""

    def __init__(self, path: Path) -> None:
        self.console = Console(record=True, width=120, file=(path / "terminal").open("w"))
        self.folder = StudyFolder(path / "study")
        self.folder.path.mkdir(exist_ok=True)
        self.folder.adopt(CONFIG)
        self.tracker = MemoryTracker()
        self.ledger = Ledger(CONFIG, self.folder, Display(self.console), self.tracker, identity="study")


@pytest.fixture
def book(tmp_path: Path) -> Book:
    return Book(tmp_path)


POINTS = Space(CONFIG).grid()


def trial(number: int, repeat: int = 0) -> Trial:
    return seeded(CONFIG, POINTS[number], range(repeat * 2))


def finished(number: int, *rewards: float, repeat: int = 0) -> TrialRecord:
    history = [{"step": 1.0, "loss": 2.0}]
    return record(trial(number, repeat), *rewards, cost=48, diversity=3 + repeat, history=history)


def test_a_finished_trial_is_in_the_folder_the_table_and_the_tracker(book: Book) -> None:
    with book.ledger.study_run({}, {}):
        book.ledger.started(trial(0))
        book.ledger.finished(finished(0, 0.4, 0.6))
    key = finished(0, 0.4, 0.6).trial
    assert read_trials(book.folder.path / "trials.csv")[0].rewards == (0.4, 0.6)
    assert book.folder.records()[key] == finished(0, 0.4, 0.6)
    run = book.tracker.trials[key]
    assert run.status == "FINISHED" and run.metrics["reward"] == pytest.approx(0.5)
    assert run.steps["seed_0.loss"] == [(1, 2.0)]
    assert not [name for name, value in run.params.items() if isinstance(value, str)]


def test_what_still_ran_when_the_study_was_stopped_is_killed(book: Book) -> None:
    with pytest.raises(KeyboardInterrupt), book.ledger.study_run({}, {}):
        book.ledger.started(trial(0))
        raise KeyboardInterrupt
    assert [run.status for run in book.tracker.trials.values()] == ["KILLED"]
    assert book.tracker.study is not None and book.tracker.study.status == "KILLED"


def test_runs_that_a_killed_study_left_open_are_closed(book: Book) -> None:
    saved, lost = finished(0, 0.4, 0.6), trial(1)
    book.tracker.start_study(name="smoke", params={}, tags={})
    for started in (trial(0), lost):
        book.ledger.started(started)
    book.folder.save(saved)  # killed between the folder and the tracker
    again = Ledger(CONFIG, book.folder, Display(book.console), book.tracker, identity="study")
    with again.study_run({}, {}):
        runs = book.tracker.trials
        assert runs[saved.trial].status == "FINISHED"
        assert runs[saved.trial].metrics["reward"] == pytest.approx(0.5)
        assert runs[lost.key("study")].status == "KILLED"


def test_a_failed_trial_is_told_and_leaves_the_others(book: Book) -> None:
    with book.ledger.study_run({}, {}):
        book.ledger.started(trial(0))
        book.ledger.failed(trial(0), "the reward model returned nan")
        book.ledger.started(trial(1))
        book.ledger.finished(finished(1, 0.4, 0.6))
    assert book.ledger.failures == {"24 x 2": "the reward model returned nan"}
    assert sorted(run.status for run in book.tracker.trials.values()) == ["FAILED", "FINISHED"]
    assert "the reward model returned nan" in book.console.export_text()
    assert len(book.ledger.records) == 1


def test_repetitions_of_a_point_are_one_record(book: Book) -> None:
    for repeat, rewards in enumerate([(0.4, 0.6), (0.5, 0.7)]):
        book.ledger.started(trial(0, repeat))
        book.ledger.finished(finished(0, *rewards, repeat=repeat))
    (record,) = book.ledger.records
    assert sorted(record.rewards) == [0.4, 0.5, 0.6, 0.7] and len(set(record.seeds)) == 4
    assert record.diversity == pytest.approx(3.5)


def test_the_base_reward_of_another_study_is_not_taken(book: Book) -> None:
    book.ledger.keep_base(Prepared(base=finished(0, 0.4, 0.6).results[0]))
    same = Ledger(CONFIG, book.folder, Display(book.console), book.tracker, identity="study")
    other = Ledger(CONFIG, book.folder, Display(book.console), book.tracker, identity="another")
    assert same.base_reward == 0.4 and other.base_reward is None
