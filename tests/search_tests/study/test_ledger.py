"""What is written down when a trial starts, ends or fails, and what an earlier run's trials count for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest
from factories import record
from rich.console import Console
from support.tracked_studies import nowhere

from base.errors import RewardError
from metrics.config import RewardConfig
from metrics.reward.report import FittedReport
from search.config.study import StudyConfig
from search.plan.plan import seeded
from search.plan.space import Space
from search.study.folder import StudyFolder, study_identity
from search.study.ledger import Ledger
from search.study.tracked import StudyRuns, open_study, tracked
from search.terminal.display import Display
from search.tracking.tracker import STUDY, Dataset, MemoryTracker, ShownRun
from search.trials.attempts import Attempts
from search.trials.design_point import Trial
from search.trials.record import TrialRecord
from search.trials.trials_csv import read_trials
from trainers.spec import Prepared

CONFIG = StudyConfig.model_validate(
    {
        "budget": 48,
        "pool": {"path": "demo"},
        "search": {"responses": [2, 4], "budget_fractions": [1.0], "trials": 2, "seeds": 2},
        "tracking": {"uri": "none"},
    }
)


POOL = Dataset(name="pool", digest="d", source="pool")


class Book:
    """A ledger in a folder, what a tracker would show of that, and the terminal in a string."""

    def __init__(self, path: Path) -> None:
        self.console = Console(record=True, width=120, file=(path / "terminal").open("w"))
        self.folder = StudyFolder(path / "study")
        self.folder.path.mkdir(exist_ok=True)
        self.folder.adopt(CONFIG)
        self.ledger = self.opened(Attempts(self.folder.attempts, "study"))

    def opened(self, attempts: Attempts) -> Ledger:
        return Ledger(CONFIG, self.folder, Display(self.console), nowhere(), attempts)

    @contextmanager
    def study_run(self) -> Iterator[None]:
        with tracked(self.folder, CONFIG, "study", POOL) as (_, attempts):
            self.ledger = self.opened(attempts)
            yield

    def shown(self) -> dict[str, ShownRun]:
        tracker = MemoryTracker()
        for run in StudyRuns(self.folder, CONFIG)():
            tracker.put(run)
        return tracker.runs


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
    with book.study_run():
        book.ledger.started(trial(0))
        book.ledger.finished(finished(0, 0.4, 0.6))
    key = finished(0, 0.4, 0.6).trial
    assert read_trials(book.folder.path / "trials.csv")[0].rewards == (0.4, 0.6)
    assert book.folder.records()[key] == finished(0, 0.4, 0.6)
    run = book.shown()[key]
    assert run.status == "FINISHED" and run.metrics["reward"] == pytest.approx(0.5)
    assert run.steps["seed_0.loss"] == [(1, 2.0)]
    assert all(float(value) >= 0 for value in run.params.values())


def test_a_study_that_has_ended_keeps_nothing_that_only_a_running_one_reads(book: Book) -> None:
    with book.study_run():
        book.ledger.started(trial(0))
        book.ledger.finished(finished(0, 0.4, 0.6))
    kept, done = trial(1).key("study"), finished(0, 0.4, 0.6).trial
    for name in ("runs/1", "tune/of a killed run", "prepare-study/1", f"trial-{done}/1", f"trial-{kept}/1"):
        (book.folder.ray / name).mkdir(parents=True)
    book.ledger.discard_leftovers()
    assert [path.name for path in book.folder.ray.iterdir()] == [f"trial-{kept}"]


def test_what_still_ran_when_the_study_was_stopped_is_killed(book: Book) -> None:
    with pytest.raises(KeyboardInterrupt), book.study_run():
        book.ledger.started(trial(0))
        raise KeyboardInterrupt
    shown = book.shown()
    assert [run.status for key, run in shown.items() if key != STUDY] == ["KILLED"]
    assert shown[STUDY].status == "KILLED"


def test_runs_that_a_killed_study_left_open_are_closed(book: Book) -> None:
    saved, lost = finished(0, 0.4, 0.6), trial(1)
    open_study(book.folder, CONFIG.tracking, "study", POOL)
    for started in (trial(0), lost):
        book.ledger.started(started)
    assert book.shown()[lost.key("study")].status == "RUNNING"
    book.folder.save(saved)  # killed between the trial's file and all the rest
    with book.study_run():
        runs = book.shown()
        assert runs[saved.trial].status == "FINISHED"
        assert runs[saved.trial].metrics["reward"] == pytest.approx(0.5)
        assert runs[lost.key("study")].status == "KILLED"
        assert book.ledger.interrupted == [lost]


def test_the_curve_of_a_seed_is_shown_before_its_trial_ends(book: Book) -> None:
    with book.study_run():
        first, key = finished(0, 0.4, 0.6), trial(0).key("study")
        book.ledger.started(trial(0))
        for _ in range(2):  # as after a restart from a checkpoint
            book.ledger.seed_ended(key, first.results[0])
        shown = book.shown()[key]
        assert (shown.status, shown.steps, shown.metrics) == ("RUNNING", {"seed_0.loss": [(1, 2.0)]}, {})
        book.ledger.finished(first)
        book.ledger.seed_ended(key, first.results[1])  # it was on its way meanwhile
        assert book.shown()[key].steps.keys() == {"seed_0.loss", "seed_1.loss"}


def test_what_was_planned_and_never_began_is_not_shown(book: Book) -> None:
    with book.study_run():
        book.ledger.planned(trial(0))
        assert book.shown().keys() == {STUDY}
    with book.study_run():
        assert book.shown().keys() == {STUDY} and book.ledger.interrupted == [trial(0)]


def test_a_failed_trial_is_told_and_leaves_the_others(book: Book) -> None:
    with book.study_run():
        book.ledger.started(trial(0))
        book.ledger.failed(trial(0), "the reward model returned nan")
        book.ledger.started(trial(1))
        book.ledger.finished(finished(1, 0.4, 0.6))
    assert book.ledger.failures == {"24 x 2": "the reward model returned nan"}
    assert sorted(run.status for run in book.shown().values()) == ["FAILED", "FINISHED", "FINISHED"]
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
    same, other = (book.opened(Attempts(book.folder.attempts, name)) for name in ("study", "another"))
    assert same.base_reward == 0.4 and other.base_reward is None


def test_agreement_with_people_is_noted_of_any_reward_model(book: Book) -> None:
    said = "0.700 of 10 held-out pairs"
    book.ledger.keep_base(Prepared(base=finished(0, 0.4, 0.6).results[0], agreement_with_people=said))
    again = book.opened(Attempts(book.folder.attempts, "study"))
    assert again.reward_notes() == book.ledger.reward_notes() == {"agreement with people": said}


BELOW = FittedReport(
    prompts=40, pairs=200, accuracy=0.6, accuracy_se=0.02, length_accuracy=0.7, l2=1.0, warning=""
)


def test_a_study_that_was_forced_to_use_a_head_below_length_goes_on_only_where_it_still_is(
    book: Book,
) -> None:
    base = finished(0, 0.4, 0.6).results[0]
    book.ledger.keep_base(Prepared(base=base, reward_report=asdict(BELOW)))
    with pytest.raises(RewardError, match=r"60.0% .* 70.0%.*reward.force"):
        book.ledger.check_reward()
    assert book.ledger.reward_doubt.startswith("Not a reward, but forced: the fitted reward ranks")
    forced = CONFIG.model_copy(update={"reward": RewardConfig(kind="fitted", force=True)})
    ledger = Ledger(
        forced, book.folder, Display(book.console), nowhere(), Attempts(book.folder.attempts, "study")
    )
    ledger.check_reward()
    assert "used all the same (reward.force)" in ledger.reward_notes()["reward model forced"]
    assert study_identity(forced, "") == study_identity(
        CONFIG.model_copy(update={"reward": RewardConfig(kind="fitted")}), ""
    )
