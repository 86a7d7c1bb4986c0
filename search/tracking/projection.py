"""Keeps a tracker in line with what a study's folder holds, from a background thread.

Nothing that a service does, or fails to do, reaches the study: it only says that something has changed.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence

from search.tracking.config import redact
from search.tracking.tracker import Rejected, StepPoint, TrackedRun, Tracker, UploadFailed

UPLOAD_ATTEMPTS = 5
HELD_S = 60.0  # how long a held projection waits for its release
PAUSES = (0.2, 0.5, 1.0, 2.0, 5.0)  # s between attempts while a service does not answer


class Projection:
    """Brings the tracker that `connect` opens in line with the runs that `read` finds, after each `changed`.

    `read` is a pure function of the folder, so that whatever was missed is made up for: by the next round,
    the next run of the study, or `apportion sync`. `samples` gives the machine's samples from a step on.
    `connect` is called in the thread, again after each failure. `note` receives, a line each, the runs that
    the service refused and why a round failed. One that is `held` connects when it is released, when
    somebody waits for it, or after HELD_S seconds.
    """

    def __init__(
        self,
        read: Callable[[], Sequence[TrackedRun]],
        connect: Callable[[], Tracker],
        *,
        target: str,
        where: str,
        samples: Callable[[int], Sequence[StepPoint]] = lambda after: (),
        note: Callable[[str], None] = lambda text: None,
        retry: str = "",
        held: bool = False,
    ) -> None:
        self._read, self._connect, self._samples, self._note = read, connect, samples, note
        self.target, self._where, self._retry = target, where, retry
        self._tracker: Tracker | None = None
        self._refused: dict[str, str] = {}  # digests, by key
        self._failed_uploads: Counter[str] = Counter()
        self._trouble = ""
        self._late = 0
        self._wanted = self._done = 0  # how often something changed, and which of that is shown
        self._closing, self._held = False, held
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._thread.start()

    def changed(self) -> None:
        """The folder holds something new; returns at once."""
        with self._news:
            self._wanted += 1
            self._news.notify_all()

    def release(self) -> None:
        """Connect from now on; returns at once."""
        with self._news:
            self._held = False
            self._news.notify_all()

    def flush(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` seconds until all that the folder holds is shown; whether it is."""
        self.release()
        with self._news:
            return self._news.wait_for(lambda: self._done == self._wanted, timeout_s)

    def close(self, timeout_s: float) -> bool:
        """`flush`, then end the thread: a service that hangs is not waited for."""
        shown = self.flush(0 if self._closing else timeout_s)
        with self._news:
            self._closing = True
            self._news.notify_all()
        if shown:
            self._thread.join()
        return shown

    def pending(self) -> str:
        """What is not shown yet, why, and how to bring it there, for a person to read; empty if nothing."""
        if self._done == self._wanted:
            return ""
        what = f"{self._late} runs" if self._late else "changes"
        waiting = f"{what} of this study are not in {self.target} yet ({self._trouble or 'no answer yet'})"
        return f"{waiting}. {self._retry}" if self._retry else waiting

    def where(self) -> str:
        """The command or address that shows this study, for the terminal."""
        return self._where

    def _run(self) -> None:
        failures = 0
        with self._news:
            self._news.wait_for(lambda: self._closing or not self._held, HELD_S)
        while not self._closing:
            with self._news:
                self._news.wait_for(lambda: self._closing or self._done != self._wanted)
                wanted = self._wanted
            try:
                if not self._closing and self._round():
                    failures, self._trouble = 0, ""
                    self._finished(wanted)
            except Exception as error:  # whatever a service's client raises: the study must not notice
                self._tracker = None
                self._explain(error)
                self._pause(PAUSES[min(failures, len(PAUSES) - 1)])
                failures += 1

    def _finished(self, wanted: int) -> None:
        with self._news:
            self._done = wanted
            self._news.notify_all()

    def _pause(self, seconds: float) -> None:
        with self._news:
            self._news.wait_for(lambda: self._closing, seconds)

    def _round(self) -> bool:
        """Show what the service does not have; False where the end came first."""
        tracker = self._tracker = self._tracker or self._connect()
        known = tracker.known()
        late = [
            run for run in self._read() if run.digest not in (known.get(run.key), self._refused.get(run.key))
        ]
        failure: UploadFailed | None = None
        for self._late, run in zip(range(len(late), 0, -1), late, strict=True):
            if self._closing:
                return False
            failure = self._put(tracker, run) or failure
        if failure:
            raise failure
        self._late = 0
        self._where = tracker.where()
        return self._sample(tracker)

    def _put(self, tracker: Tracker, run: TrackedRun) -> UploadFailed | None:
        """Show one run; returns why its files have to be tried again, if they have to."""
        try:
            tracker.put(run)
        except (Rejected, UploadFailed) as error:
            self._failed_uploads[run.key] += 1
            if isinstance(error, UploadFailed) and self._failed_uploads[run.key] < UPLOAD_ATTEMPTS:
                return error
            self._refused[run.key] = run.digest
            self._note(redact(f"refused: {run.key} ({run.name}): {error}"))
        self._failed_uploads.pop(run.key, None)
        return None

    def _sample(self, tracker: Tracker) -> bool:
        if points := self._samples(tracker.sampled()):
            tracker.sample(points)
        return True

    def _explain(self, error: BaseException) -> None:
        root = error
        while cause := root.__cause__ or root.__context__:
            root = cause
        trouble = redact(str(root) or type(root).__name__).splitlines()[0][:200]
        if trouble != self._trouble:
            self._note(redact(f"not shown: {type(error).__name__}: {error}"))
        self._trouble = trouble
