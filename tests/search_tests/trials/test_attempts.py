"""What the folder knows of trials that began, whatever happens to the process, the disk or the clock."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.tracked_studies import result, trial

from search.trials.attempts import Attempts, read_attempts


def opened(path: Path, study: str = "study") -> Attempts:
    return Attempts(path / "attempts", study)


def test_the_next_process_finds_what_was_written(tmp_path: Path) -> None:
    attempts = opened(tmp_path)
    attempts.planned("a", trial())
    for key in "bcd":
        attempts.started(key, trial())
        attempts.seed_ended(key, result(0))
    attempts.ended("c", "FINISHED")
    attempts.ended("d", "FAILED")
    again = opened(tmp_path)
    assert again.all() == attempts.all()
    assert {key: one.state for key, one in again.all().items()} == {
        "a": "PLANNED",
        "b": "RUNNING",
        "c": "FINISHED",
        "d": "FAILED",
    }
    assert [one.key for one in again.unfinished()] == ["a", "b"]
    assert [len(one.curves) for one in again.all().values()] == [0, 1, 0, 1]


def test_what_a_killed_study_left_running_is_settled(tmp_path: Path) -> None:
    for key in "ab":
        opened(tmp_path).started(key, trial())
    attempts = opened(tmp_path)
    ended = opened(tmp_path).all()["a"].started_ms + 7
    attempts.settle({"a": ended})
    assert {key: one.state for key, one in attempts.all().items()} == {"a": "FINISHED", "b": "KILLED"}
    assert attempts.all()["a"].ended_ms == ended
    assert (attempts.all()["b"].ended_ms or 0) >= attempts.all()["b"].started_ms
    assert opened(tmp_path).all() == attempts.all()


def test_a_trial_that_goes_on_keeps_its_first_start_and_its_curves(tmp_path: Path) -> None:
    attempts = opened(tmp_path)
    attempts.started("a", trial())
    attempts.seed_ended("a", result(0))
    began = attempts.all()["a"]
    attempts.stop()
    attempts.started("a", trial())
    assert attempts.all()["a"] == began
    assert not attempts.seed_ended("a", result(0)) and attempts.seed_ended("a", result(1))


def test_the_attempts_of_another_study_do_not_count(tmp_path: Path) -> None:
    opened(tmp_path, "before").started("a", trial())
    assert opened(tmp_path).all() == {} and read_attempts(tmp_path / "attempts", "before").keys() == {"a"}


def test_a_clock_set_back_does_not_turn_time_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = opened(tmp_path)
    attempts.started("a", trial())
    now = time.time()
    monkeypatch.setattr("search.trials.attempts.time.time", lambda: now - 3600)
    attempts.started("b", trial())
    attempts.ended("a", "KILLED")
    one, other = attempts.all()["a"], attempts.all()["b"]
    assert one.started_ms < other.started_ms < (one.ended_ms or 0)


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes: a write stops halfway, then fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_delays_writing_and_loses_nothing(tmp_path: Path) -> None:
    attempts = opened(tmp_path)
    attempts.started("a", trial())
    whole = (tmp_path / "attempts" / "a.json").read_text()
    with full_disk(20):
        attempts.ended("a", "KILLED")
        attempts.started("b", trial())
        assert attempts.all()["b"].state == "RUNNING"
    assert (tmp_path / "attempts" / "a.json").read_text() == whole and json.loads(whole)
    attempts.started("c", trial())
    assert opened(tmp_path).all() == attempts.all()
