"""An on-disk queue of events: what was noted outlives the process, and is handed out in order.

Two files in the spool's folder: `events.jsonl`, to which one line is added per event and nothing is ever
removed, and `state.json`, which says how far a target has received them.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from base.errors import ApportionError

Event: TypeAlias = dict[str, Any]
SYNC_INTERVAL = 0.2  # s between two fsyncs: the most that a power cut can take


@dataclass(frozen=True)
class Entry:
    """An event and the offset, in bytes, at which the next one begins."""

    event: Event
    end: int


class Spool:
    """The events of one study, bound for one `target` (a name without secrets).

    `append` costs one write into the page cache, so a killed process loses nothing; a thread syncs the
    file to disk every `SYNC_INTERVAL`. While the disk refuses writes, events are kept in memory, still
    handed out, and written once it accepts them again. A spool that was bound for another target starts
    again from its first event, so that a new server receives the study whole.

    Thread-safe; one process at a time, held by a lock on the file.
    """

    def __init__(self, folder: Path, *, target: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._state_file = folder / "state.json"
        self._file = os.open(folder / "events.jsonl", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._claim(folder)
        self._lock = threading.Lock()
        self._unwritten = b""
        self._queue: deque[Entry] = deque()
        self._cut_torn_line()
        self.target = target
        self._offset, self.ids = self._load_state()
        self.study = self._identity()
        self._fill(self._offset)
        self._save_state()
        self._dirty, self._closed = threading.Event(), threading.Event()
        self._syncer = threading.Thread(target=self._sync_forever, name="spool-sync", daemon=True)
        self._syncer.start()

    def append(self, event: Event) -> None:
        """Note an event. Neither blocks on a disk's sync nor raises when the disk refuses it."""
        with self._lock:
            line = _line(event)
            self._queue.append(Entry(event, self._tail + len(line)))
            self._tail += len(line)
            self._unwritten += line
            self._write()
        self._dirty.set()

    def pending(self, limit: int) -> list[Entry]:
        """The oldest events not yet acknowledged, at most `limit`."""
        with self._lock:
            return [entry for entry, _ in zip(self._queue, range(limit), strict=False)]

    def events(self) -> list[Event]:
        """Every event since the study began, acknowledged or not."""
        with self._lock:
            return [entry.event for entry in _entries(self._contents() + self._unwritten, 0)]

    def __len__(self) -> int:
        return len(self._queue)

    def acknowledge(self, end: int) -> None:
        """Say that the target holds every event up to offset `end`, and keep `ids` as they stand."""
        with self._lock:
            while self._queue and self._queue[0].end <= end:
                self._queue.popleft()
            self._offset = max(self._offset, end)
            if not self._closed.is_set():
                self._save_state()

    def rewind(self) -> None:
        """Hand out every event again: the target lost what it had."""
        with self._lock:
            self.ids = {}
            self._queue.clear()
            self._fill(0)

    @property
    def unsaved(self) -> bool:
        """Whether the disk is refusing writes, so that events are held in memory alone."""
        return bool(self._unwritten)

    def close(self) -> None:
        """Sync and let go of the file; a second call does nothing."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._dirty.set()
        self._syncer.join()
        os.close(self._file)
        self._file = -1

    def _claim(self, folder: Path) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._file)
            raise ApportionError(
                f"another process is using the tracking spool {folder}: end it first"
            ) from None

    def _cut_torn_line(self) -> None:
        data = self._contents()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(self._file, whole)
        self._tail = whole

    def _identity(self) -> str:
        """The name that the study has for the target, drawn once for each spool."""
        for entry in _entries(self._contents(), 0):
            if entry.event["do"] == "open":
                return str(entry.event["study"])
        study = uuid.uuid4().hex
        self._unwritten = _line({"do": "open", "study": study})
        self._tail += len(self._unwritten)
        self._write()
        return study

    def _fill(self, offset: int) -> None:
        self._offset = min(offset, self._tail)
        data = self._contents() + self._unwritten
        self._queue.extend(e for e in _entries(data, self._offset) if e.event["do"] != "open")

    def _write(self) -> None:
        with contextlib.suppress(OSError):
            while self._unwritten:
                self._unwritten = self._unwritten[os.write(self._file, self._unwritten) :]

    def _contents(self) -> bytes:
        return os.pread(self._file, os.fstat(self._file).st_size, 0)

    def _load_state(self) -> tuple[int, dict[str, str]]:
        try:
            state = json.loads(self._state_file.read_text())
            if state["target"] == self.target:
                return int(state["offset"]), dict(state["ids"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # absent or torn: sending everything again is always right
        return 0, {}

    def _save_state(self) -> None:
        state = {"target": self.target, "offset": self._offset, "ids": self.ids}
        draft = self._state_file.with_suffix(".part")
        with contextlib.suppress(OSError):  # an old state only repeats what the target knows to ignore
            draft.write_text(json.dumps(state))
            draft.replace(self._state_file)

    def _sync_forever(self) -> None:
        while not self._closed.is_set():
            self._dirty.wait()
            self._dirty.clear()
            with self._lock:
                self._write()
            with contextlib.suppress(OSError):
                os.fsync(self._file)
            self._closed.wait(SYNC_INTERVAL)


def recorded_target(folder: Path) -> str:
    """The target that the spool in `folder` was last bound for; empty where none is known."""
    try:
        return str(json.loads((folder / "state.json").read_text())["target"])
    except (OSError, ValueError, KeyError):
        return ""


def _line(event: Event) -> bytes:
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


def _entries(data: bytes, offset: int) -> Iterator[Entry]:
    for line in data[offset:].splitlines(keepends=True):
        offset += len(line)
        with contextlib.suppress(ValueError):  # a line that a failing disk garbled
            yield Entry(json.loads(line), offset)
