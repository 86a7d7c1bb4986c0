"""The way from the folder to a service that is slow, dead, forgetful or rude, all of it made up here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.tracking import projection
from search.tracking.projection import Projection
from search.tracking.tracker import (
    STUDY,
    MemoryTracker,
    Rejected,
    StepPoint,
    TrackedRun,
    UploadFailed,
)


class Service:
    """Remembers what it was shown. `trouble` is called before and after each run takes effect."""

    def __init__(self, trouble: Callable[[], None] = lambda: None) -> None:
        self.trouble = trouble
        self.memory = MemoryTracker()
        self.puts: list[str] = []
        self.sent: list[StepPoint] = []

    def known(self) -> Mapping[str, str]:
        return self.memory.known()

    def put(self, run: TrackedRun) -> None:
        self.trouble()
        if run.name == "refused":
            raise Rejected("not such a name")
        self.puts.append(run.key)
        self.memory.put(run)
        self.trouble()

    def sampled(self) -> int:
        return self.memory.sampled()

    def sample(self, points: Sequence[StepPoint]) -> None:
        self.trouble()
        self.sent += points
        self.memory.sample(points)

    def where(self) -> str:
        return "here"


class Folder:
    """What a study's folder would hold: runs by key, the study's own from the beginning."""

    def __init__(self, *keys: str) -> None:
        self.runs: dict[str, TrackedRun] = {}
        self.add(STUDY, *keys)

    def add(self, *keys: str, **fields: str) -> None:
        for key in keys:
            named = {"key": key, "name": key, "status": "RUNNING", **fields}
            self.runs[key] = TrackedRun(started_ms=1, **named)  # type: ignore[arg-type]

    def read(self) -> list[TrackedRun]:
        return list(self.runs.values())


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "PAUSES", (0.0, 0.01))


Track = Callable[..., Projection]


@pytest.fixture
def track() -> Iterator[Track]:
    opened: list[Projection] = []

    def start(folder: Folder, connect: Callable[[], Service], **more: object) -> Projection:
        more = {"target": "made up", "where": "nowhere yet", **more}
        opened.append(Projection(folder.read, connect, **more))  # type: ignore[arg-type]
        opened[-1].changed()
        return opened[-1]

    yield start
    for one in opened:
        one.close(0)


def test_a_service_that_hangs_holds_up_nobody(track: Track) -> None:
    released, folder = threading.Event(), Folder()
    shown = track(folder, lambda: Service(lambda: released.wait(60) and None))
    begun = time.perf_counter()
    for number in range(1000):
        folder.add(f"k{number}")
        shown.changed()
    assert time.perf_counter() - begun < 3
    begun = time.perf_counter()
    assert not shown.close(0.3)
    assert time.perf_counter() - begun < 3
    assert "of this study are not in made up yet (no answer yet)" in shown.pending()
    released.set()


def test_a_service_that_cannot_be_reached_is_tried_until_it_can(track: Track) -> None:
    service, attempts = Service(), []

    def connect() -> Service:
        attempts.append(1)
        if len(attempts) < 4:
            raise ConnectionError("http://user:hunter2@host refused")
        return service

    shown = track(Folder("a", "b"), connect)
    assert shown.flush(60)
    assert service.puts == [STUDY, "a", "b"]
    assert len(attempts) == 4
    assert shown.pending() == "" and shown.where() == "here"


def test_one_that_is_held_connects_when_it_is_released_or_waited_for(track: Track) -> None:
    for start in (Projection.release, lambda shown: shown.flush(60)):
        service, connected = Service(), threading.Event()
        shown = track(Folder("a"), lambda: connected.set() or service, held=True)  # noqa: B023
        assert not connected.wait(0.1)
        start(shown)
        assert connected.wait(60)
        assert shown.close(60) and service.puts == [STUDY, "a"]


def test_one_that_nobody_releases_connects_all_the_same(
    track: Track, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection, "HELD_S", 0.1)
    connected = threading.Event()
    track(Folder("a"), lambda: connected.set() or Service(), held=True)
    assert connected.wait(60)


def test_the_reason_is_told_without_the_secret(track: Track) -> None:
    def connect() -> Service:
        raise ConnectionError("http://user:hunter2@host refused\nand more")

    shown = track(Folder("a"), connect, retry="Try again.")
    deadline = time.monotonic() + 60
    while "no answer yet" in shown.pending() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert "(http://***@host refused). Try again." in shown.pending()
    assert "hunter2" not in shown.pending()


@settings(max_examples=25, deadline=None)
@given(
    failures=st.lists(st.booleans(), max_size=40), keys=st.lists(st.text("abcdef", min_size=1), unique=True)
)
def test_whatever_fails_before_or_after_taking_effect_all_arrives_in_order(
    failures: list[bool], keys: list[str]
) -> None:
    rest = iter(failures)

    def trouble() -> None:
        if next(rest, False):
            raise TimeoutError("no answer in time")

    service, folder = Service(trouble), Folder(*keys)
    shown = Projection(folder.read, lambda: service, target="made up", where="")
    shown.changed()
    assert shown.close(60)
    assert service.puts == [STUDY, *keys]
    assert service.known() == {run.key: run.digest for run in folder.read()}


def test_a_refused_run_is_noted_and_passed_over(track: Track) -> None:
    service, notes, folder = Service(), list[str](), Folder("a")
    folder.add("odd", name="refused")
    folder.add("b")
    shown = track(folder, lambda: service, note=notes.append)
    assert shown.flush(60) and shown.pending() == ""
    assert service.puts == [STUDY, "a", "b"]
    assert notes == ["refused: odd (refused): not such a name"]
    folder.add("odd")  # as it is now it may be taken
    shown.changed()
    assert shown.flush(60) and service.puts[-1] == "odd"


def test_a_broken_store_of_files_holds_up_nothing_else(track: Track) -> None:
    notes: list[str] = []

    class NoStore(Service):
        tries = 0

        def put(self, run: TrackedRun) -> None:
            if run.key == "a":
                self.tries += 1
                raise UploadFailed("no such bucket")
            super().put(run)

    service = NoStore()
    shown = track(Folder("a", "b"), lambda: service, note=notes.append)
    assert shown.flush(60)
    assert service.puts == [STUDY, "b"]
    assert service.tries == 5
    assert notes[-1] == "refused: a (a): no such bucket"


def test_a_service_that_lost_its_memory_is_shown_all_again(track: Track) -> None:
    first, second, folder = Service(), Service(), Folder("a", "b")
    services = [first, second]
    shown = track(folder, lambda: services.pop(0))
    assert shown.flush(60)

    def gone() -> None:
        raise ConnectionError("restarted")

    first.trouble = gone
    folder.add("c")
    shown.changed()
    assert shown.flush(60)
    assert second.puts == [STUDY, "a", "b", "c"]


def test_a_next_process_shows_the_rest(track: Track) -> None:
    def dead() -> Service:
        raise ConnectionError("dead")

    folder, service = Folder("a", "b"), Service()
    assert not track(folder, dead).close(0.1)
    folder.add("c")
    assert track(folder, lambda: service).close(60)
    assert service.puts == [STUDY, "a", "b", "c"]


def test_only_what_changed_is_sent(track: Track) -> None:
    service, folder = Service(), Folder(*"abc")
    shown = track(folder, lambda: service)
    assert shown.flush(60)
    folder.add("b", status="KILLED")
    shown.changed()
    assert shown.flush(60)
    assert service.puts == [STUDY, "a", "b", "c", "b"]
    shown.changed()
    assert shown.flush(60) and len(service.puts) == 5


def test_samples_are_sent_once_from_where_the_service_has_them(track: Track) -> None:
    service, rows = Service(), [StepPoint(step=i, metrics={"busy": 1.0}, timestamp_ms=i) for i in range(4)]
    held = rows[:2]
    shown = track(Folder(), lambda: service, samples=lambda after: held[after:])
    assert shown.flush(60)
    held += rows[2:]
    shown.changed()
    assert shown.close(60)
    assert track(Folder(), lambda: service, samples=lambda after: held[after:]).close(60)
    assert service.sent == rows


def test_odd_values_are_made_plain(track: Track) -> None:
    service, folder = Service(), Folder()
    folder.runs["a"] = TrackedRun(
        key="a",
        name="a",
        status="FINISHED",
        started_ms=1,
        params={"n": np.int64(3), "rate": np.float32(0.5), "path": Path("/x"), "none": None, "on": True},
        tags={"source": "postgresql://user:hunter2@db/x?password=hunter2"},
        steps=[StepPoint(step=np.int64(1), metrics={"x": np.float32(0.5), "y": None}, timestamp_ms=1)],
    )
    assert track(folder, lambda: service).close(60)
    run = service.memory.runs["a"]
    assert run.params == {"n": "3", "rate": "0.5", "path": "/x", "none": "None", "on": "True"}
    assert run.steps == {"x": [(1, 0.5)]}
    assert "hunter2" not in str(run)
