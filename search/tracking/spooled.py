"""A tracker that writes everything down first and delivers it from a background thread.

Nothing that a service does, or fails to do, reaches the study: a call only adds an event to the spool.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

from search.tracking.config import redact
from search.tracking.spool import Entry, Event, Spool
from search.tracking.tracker import Dataset, Scalar, Status, StepPoint, numbers

BATCH = 500  # events looked at together, so that series of steps are sent in few requests
UPLOADS, ATTEMPTS = (
    ("log_artifact", "register_policy"),
    5,
)  # files have a store of their own, which may be broken
PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)  # s between attempts while a service does not answer


class Rejected(Exception):
    """A service will never accept this event; it is noted and passed over."""


class Sink(Protocol):
    """A tracking service as the delivering thread sees it; every method may block and raise.

    `apply` must be idempotent: after a crash, or when an answer got lost, events come again. It raises
    `Rejected` for what can never succeed; whatever else it raises means "try again later".
    """

    def knows(self, ids: Mapping[str, str]) -> bool:
        """Whether the service still has what it was sent before, to go by `ids`."""

    def apply(self, event: Event, ids: dict[str, str]) -> None:
        """Carry out one event; `ids` maps keys to the service's names for them and may be added to."""


class SpooledTracker:
    """The `Tracker` whose events go through `spool` to the sink that `connect` opens.

    `connect` is called in the background thread, again after each failure to connect, so that neither
    slow imports nor a dead server delay the study. `note` is told of each
    rejected event, and why delivery stopped.
    """

    def __init__(
        self,
        spool: Spool,
        connect: Callable[[], Sink],
        *,
        where: Callable[[], str],
        note: Callable[[str], None],
    ):
        self._spool, self._connect, self._where, self._note = spool, connect, where, note
        self._sink: Sink | None = None
        self._trouble = ""
        self._latest_ms = self._failed_uploads = 0
        self._wake, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._deliver_forever, name="tracking", daemon=True)
        self._thread.start()

    def start_study(self, *, name: str, params: Mapping[str, Scalar], tags: Mapping[str, str]) -> None:
        self._add("start_study", name=name, params=_clean(params), tags=_clean(tags))

    def start_trial(
        self, key: str, *, params: Mapping[str, Scalar], tags: Mapping[str, str], name: str = ""
    ) -> None:
        self._add("start_trial", key=key, name=name or key, params=_clean(params), tags=_clean(tags))

    def unfinished(self) -> Sequence[str]:
        running: dict[str, None] = {}
        for event in self._spool.events():
            if event["do"] == "start_trial":
                running[event["key"]] = None
            elif event["do"] == "finish":
                running.pop(event["key"], None)
        return list(running)

    def log_steps(self, key: str | None, points: Sequence[StepPoint]) -> None:
        rows = [[int(p.step), int(p.timestamp_ms), numbers(p.metrics)] for p in points]
        self._put({"do": "log_steps", "series": {key or "": rows}})

    def finish_trial(self, key: str, *, metrics: Mapping[str, float | None], status: Status) -> None:
        self._add("finish", key=key, metrics=numbers(metrics), status=status)

    def log_artifact(self, path: Path, *, key: str | None = None) -> None:
        self._add("log_artifact", key=key or "", path=str(path.absolute()))

    def log_dataset(self, dataset: Dataset) -> None:
        self._add("log_dataset", dataset={**asdict(dataset), "source": redact(dataset.source)})

    def register_policy(self, place: str, *, key: str, name: str) -> None:
        local = place.removeprefix("file://")
        path = local if "://" in local else str(Path(local).absolute())
        self._add("register_policy", key=key, path=path, name=name)

    def finish_study(self, *, metrics: Mapping[str, float | None], status: Status) -> None:
        self._add("finish", key="", metrics=numbers(metrics), status=status)

    def flush(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        self._wake.set()
        while len(self._spool) and (left := deadline - time.monotonic()) > 0:
            time.sleep(min(0.02, left))
        return not len(self._spool)

    def close(self, timeout_s: float) -> bool:
        delivered = self.flush(0 if self._closing.is_set() else timeout_s)
        self._closing.set()
        self._wake.set()
        if delivered:
            self._thread.join()
        self._spool.close()
        return delivered

    @property
    def waiting(self) -> int:
        """How many events are not delivered yet."""
        return len(self._spool)

    def pending(self) -> str:
        if not self.waiting:
            return ""
        cause = self._trouble or "no answer yet"
        spool = self._spool
        return f"{self.waiting} tracking events for {spool.target} wait in {spool.folder} ({cause})"

    def where(self) -> str:
        return self._where()

    def _add(self, do: str, **rest: Any) -> None:
        # Always later than the event before: of two figures of one time the service would show the greater,
        # and a clock set back would make a run end before it began.
        self._latest_ms = max(self._latest_ms + 1, int(time.time() * 1000))
        self._put({"do": do, "time_ms": self._latest_ms, **rest})

    def _put(self, event: Event) -> None:
        self._spool.append(event)
        self._wake.set()

    def _deliver_forever(self) -> None:
        failures = 0
        while not self._closing.is_set():
            try:
                self._deliver()
                failures, self._trouble = 0, ""
                self._wake.wait()
                self._wake.clear()
            except Exception as error:  # whatever a service's client raises: the study must not notice
                self._sink = None
                self._explain(error)
                self._closing.wait(PAUSES[min(failures, len(PAUSES) - 1)])
                failures += 1

    def _deliver(self) -> None:
        sink = self._sink = self._sink or self._opened()
        while batch := self._spool.pending(BATCH):
            for event, end in _merged(batch):
                if self._closing.is_set():
                    return
                try:
                    sink.apply(event, self._spool.ids)
                except Exception as error:
                    if not isinstance(error, Rejected) and not self._hopeless(sink, event):
                        raise
                    self._note(redact(f"refused: {event['do']} {event.get('key', '')}: {error}"))
                self._failed_uploads = 0
                self._spool.acknowledge(end)

    def _hopeless(self, sink: Sink, event: Event) -> bool:
        """Whether a file that the service's store keeps refusing holds up everything behind it."""
        if event["do"] not in UPLOADS:
            return False
        sink.knows(self._spool.ids)  # raises where the service itself is in trouble
        self._failed_uploads += 1
        return self._failed_uploads >= ATTEMPTS

    def _explain(self, error: BaseException) -> None:
        root = error
        while cause := root.__cause__ or root.__context__:
            root = cause
        trouble = redact(str(root) or type(root).__name__).splitlines()[0][:200]
        if trouble != self._trouble:
            self._note(redact(f"delivery stopped: {type(error).__name__}: {error}"))
        self._trouble = trouble

    def _opened(self) -> Sink:
        sink = self._connect()
        if not sink.knows(self._spool.ids):
            self._spool.rewind()
        return sink


def _clean(values: Mapping[str, Any]) -> dict[str, Scalar]:
    return {k: v if isinstance(v, int | float) else redact(str(v)) for k, v in values.items()}


def _merged(batch: Iterable[Entry]) -> Iterator[tuple[Event, int]]:
    """The events in order, with their end offsets; neighbouring `log_steps` become one."""
    for do, group in groupby(batch, key=lambda entry: entry.event["do"]):
        entries = list(group)
        if do != "log_steps":
            yield from ((entry.event, entry.end) for entry in entries)
            continue
        series: dict[str, list[Any]] = {}
        for entry in entries:
            for key, points in entry.event["series"].items():
                series.setdefault(key, []).extend(points)
        yield {"do": do, "series": series}, entries[-1].end
