"""Delivery from the spool to a service that is slow, dead, forgetful or rude, all of it made up here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.tracking import spooled as spooled_tracker
from search.tracking.spool import Spool
from search.tracking.spooled import Rejected, SpooledTracker
from search.tracking.tracker import StepPoint


class Service:
    """Remembers what it was sent. `trouble` is called before and after each event takes effect."""

    def __init__(self, trouble: Callable[[], None] = lambda: None) -> None:
        self.trouble = trouble
        self.received: list[str] = []
        self.events: list[dict] = []
        self.lost = False

    def knows(self, ids) -> bool:
        return not self.lost

    def apply(self, event, ids) -> None:
        self.trouble()
        if event["do"] == "log_dataset":
            raise Rejected("no datasets here")
        mark = event.get("key") or event["do"]
        if mark not in self.received:
            self.received.append(mark)
            self.events.append(event)
        self.trouble()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooled_tracker, "PAUSES", (0.0, 0.01))


@pytest.fixture
def track(tmp_path: Path) -> Iterator[Callable[..., SpooledTracker]]:
    opened: list[SpooledTracker] = []

    def start(connect: Callable[[], Service], notes: list[str] | None = None) -> SpooledTracker:
        spool = Spool(tmp_path, target="made up")
        noted = notes if notes is not None else []
        opened.append(SpooledTracker(spool, connect, where=lambda: "here", note=noted.append))
        return opened[-1]

    yield start
    for tracker in opened:
        tracker.close(0)


def trials(tracker: SpooledTracker, *keys: str) -> None:
    for key in keys:
        tracker.start_trial(key, params={}, tags={})


def test_a_service_that_hangs_holds_up_nobody(track) -> None:
    released = threading.Event()
    tracker = track(lambda: Service(lambda: released.wait(60) and None))
    begun = time.perf_counter()
    tracker.start_study(name="s", params={}, tags={})
    for step in range(1000):
        tracker.log_steps("k", [StepPoint(step=step, metrics={"loss": 1.0}, timestamp_ms=step)])
    assert time.perf_counter() - begun < 3
    begun = time.perf_counter()
    assert not tracker.close(0.3)
    assert time.perf_counter() - begun < 3
    assert tracker.pending().startswith("1001 tracking events for made up wait in ")
    released.set()


def test_a_service_that_cannot_be_reached_is_tried_until_it_can(track) -> None:
    service, attempts = Service(), []

    def connect() -> Service:
        attempts.append(1)
        if len(attempts) < 4:
            raise ConnectionError("http://user:hunter2@host refused")
        return service

    tracker = track(connect)
    trials(tracker, "a", "b")
    assert tracker.flush(60)
    assert service.received == ["a", "b"]
    assert len(attempts) == 4
    assert tracker.pending() == ""


def test_the_reason_is_told_without_the_secret(track) -> None:
    def connect() -> Service:
        raise ConnectionError("http://user:hunter2@host refused\nand more")

    tracker = track(connect)
    trials(tracker, "a")
    deadline = time.monotonic() + 60
    while "no answer yet" in tracker.pending() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "(http://***@host refused)" in tracker.pending()
    assert "hunter2" not in tracker.pending()


@settings(max_examples=25, deadline=None)
@given(
    failures=st.lists(st.booleans(), max_size=40), keys=st.lists(st.text("abcdef", min_size=1), unique=True)
)
def test_whatever_fails_before_or_after_taking_effect_all_arrives_in_order(
    tmp_path_factory: pytest.TempPathFactory, failures: list[bool], keys: list[str]
) -> None:
    rest = iter(failures)

    def trouble() -> None:
        if next(rest, False):
            raise TimeoutError("no answer in time")

    service = Service(trouble)
    spool = Spool(tmp_path_factory.mktemp("spool"), target="made up")
    tracker = SpooledTracker(spool, lambda: service, where=lambda: "", note=lambda _: None)
    trials(tracker, *keys)
    assert tracker.close(60)
    assert service.received == keys


def test_a_refused_event_is_noted_and_passed_over(track) -> None:
    from search.tracking.tracker import Dataset

    service, notes = Service(), []
    tracker = track(lambda: service, notes)
    trials(tracker, "a")
    tracker.log_dataset(Dataset(name="pool", digest="d", source="s3://key:secret@bucket/pool"))
    trials(tracker, "b")
    assert tracker.flush(60)
    assert service.received == ["a", "b"]
    assert notes == ["refused: log_dataset : no datasets here"]


def test_a_broken_store_of_files_holds_up_nothing_else(track, tmp_path: Path) -> None:
    notes: list[str] = []

    class NoStore(Service):
        tries = 0

        def apply(self, event, ids) -> None:
            if event["do"] == "log_artifact":
                self.tries += 1
                raise RuntimeError("no such bucket")
            super().apply(event, ids)

    service = NoStore()
    tracker = track(lambda: service, notes)
    trials(tracker, "a")
    tracker.log_artifact(tmp_path / "report.html")
    trials(tracker, "b")
    assert tracker.flush(60)
    assert service.received == ["a", "b"]
    assert service.tries == 5
    assert notes[-1] == "refused: log_artifact : no such bucket"


def test_a_service_that_lost_its_memory_is_told_all_again(track) -> None:
    first, second = Service(), Service()
    services = [first, second]
    tracker = track(lambda: services.pop(0))
    trials(tracker, "a", "b")
    assert tracker.flush(60)

    def gone() -> None:
        raise ConnectionError("restarted")

    first.trouble, second.lost = gone, True
    trials(tracker, "c")
    assert tracker.flush(60)
    assert second.received == ["a", "b", "c"]


def test_a_next_process_delivers_the_rest(track, tmp_path: Path) -> None:
    def dead() -> Service:
        raise ConnectionError("dead")

    tracker = track(dead)
    trials(tracker, "a", "b")
    assert not tracker.close(0.1)
    service = Service()
    tracker = track(lambda: service)
    trials(tracker, "c")
    assert tracker.close(60)
    assert service.received == ["a", "b", "c"]


def test_neighbouring_steps_travel_together(track) -> None:
    gate, service = threading.Event(), Service()
    tracker = track(lambda: gate.wait(10) and service)
    for step in range(100):
        for key in ("a", "b"):
            tracker.log_steps(key, [StepPoint(step=step, metrics={"loss": 1.0}, timestamp_ms=step)])
    gate.set()
    assert tracker.flush(60)
    assert len(service.events) == 1
    assert {key: len(points) for key, points in service.events[0]["series"].items()} == {"a": 100, "b": 100}


def test_a_clock_set_back_does_not_turn_time_round(track, monkeypatch: pytest.MonkeyPatch) -> None:
    service = Service()
    tracker = track(lambda: service)
    trials(tracker, "a")
    now = time.time()
    monkeypatch.setattr(spooled_tracker.time, "time", lambda: now - 3600)
    trials(tracker, "b")
    assert tracker.flush(60)
    assert service.events[0]["time_ms"] <= service.events[1]["time_ms"]


def test_odd_values_are_made_plain(track, tmp_path: Path) -> None:
    service = Service()
    tracker = track(lambda: service)
    tracker.start_trial(
        "a",
        params={"n": np.int64(3), "rate": np.float32(0.5), "path": Path("/x"), "none": None, "on": True},
        tags={"source": "postgresql://user:hunter2@db/x?password=hunter2"},
    )
    tracker.log_steps(
        "b", [StepPoint(step=np.int64(1), metrics={"x": np.float32(0.5), "y": None}, timestamp_ms=1)]
    )
    assert tracker.flush(60)
    params = service.events[0]["params"]
    assert params == {"n": "3", "rate": "0.5", "path": "/x", "none": "None", "on": True}
    assert service.events[1]["series"] == {"b": [[1, 1, {"x": 0.5}]]}
    assert "hunter2" not in (tmp_path / "events.jsonl").read_text()
