"""What a study's folder knows of every trial that was ever started: when, what became of it, its curves."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

from base.files import write_whole
from search.trials.design_point import Trial
from trainers.spec import SeedResult

State: TypeAlias = Literal["PLANNED", "RUNNING", "FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The learning curve of a seed that has ended in a trial that has not."""

    seed: int
    history: Sequence[Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A trial from when it is planned; times in ms since 1970, `started_ms` that of its first start.

    `study` is the identity of the study that its key holds for. `curves` are those of the seeds that have
    ended, kept until the trial's own record holds them.
    """

    study: str
    key: str
    trial: Trial
    state: State
    started_ms: int
    ended_ms: int | None = None
    curves: tuple[Curve, ...] = ()


class Attempts:
    """The attempts of one study, a file each, in a folder that one process at a time writes to.

    Thread-safe. What a full disk refuses is kept in memory and written with the next change.
    """

    def __init__(self, folder: Path, study: str) -> None:
        self.study = study
        self._folder = folder
        self._lock = threading.Lock()
        self._unwritten: set[str] = set()
        self._all = read_attempts(folder, study)

    def all(self) -> dict[str, Attempt]:
        """Every attempt by its trial's key."""
        with self._lock:
            return dict(self._all)

    def unfinished(self) -> list[Attempt]:
        """Those that an earlier run planned or started, and that came to no end, in that order."""
        left = [one for one in self.all().values() if one.state not in ("FINISHED", "FAILED")]
        return sorted(left, key=lambda one: one.started_ms)

    def planned(self, key: str, trial: Trial) -> None:
        """The trial is next."""
        with self._lock:
            known = self._all.get(key)
            if known is None or known.state == "PLANNED":
                self._keep(self._new(key, trial))

    def started(self, key: str, trial: Trial) -> None:
        """The trial has begun, maybe not for the first time."""
        with self._lock:
            known = self._all.get(key)
            if known is None or known.state == "PLANNED":
                known = self._new(key, trial)
            self._keep(replace(known, state="RUNNING", ended_ms=None))

    def seed_ended(self, key: str, result: SeedResult) -> bool:
        """Keep the curve of one seed of a running trial; whether it was news."""
        with self._lock:
            known = self._all.get(key)
            if known is None or known.state != "RUNNING" or result.seed in {c.seed for c in known.curves}:
                return False
            curve = Curve(seed=result.seed, history=result.history)
            self._keep(replace(known, curves=(*known.curves, curve)))
            return True

    def ended(self, key: str, state: State) -> None:
        """The trial has ended. Curves of a FINISHED one are in its own record, which was written before."""
        with self._lock:
            known = self._all[key]
            curves = () if state == "FINISHED" else known.curves
            self._keep(replace(known, state=state, ended_ms=self._now(), curves=curves))

    def stop(self) -> None:
        """The study ends: what still runs is KILLED."""
        for one in self.all().values():
            if one.state == "RUNNING":
                self.ended(one.key, "KILLED")

    def settle(self, finished: Mapping[str, int]) -> None:
        """Say of the trials that a study left running what became of them.

        Those in `finished`, by key, have ended at that time; others were KILLED when they were last written.
        """
        with self._lock:
            for key, known in list(self._all.items()):
                if known.state == "RUNNING" or (key in finished and known.state != "FINISHED"):
                    state: State = "FINISHED" if key in finished else "KILLED"
                    last = finished.get(key) or self._path(key).stat().st_mtime_ns // 1_000_000
                    curves = () if state == "FINISHED" else known.curves
                    ended = max(known.started_ms, last)
                    self._keep(replace(known, state=state, ended_ms=ended, curves=curves))

    def _new(self, key: str, trial: Trial) -> Attempt:
        return Attempt(study=self.study, key=key, trial=trial, state="PLANNED", started_ms=self._now())

    def _keep(self, attempt: Attempt) -> None:
        self._all[attempt.key] = attempt
        self._unwritten.add(attempt.key)
        with suppress(OSError):
            self._folder.mkdir(exist_ok=True)
            for key in sorted(self._unwritten):
                write_whole(self._path(key), json.dumps(asdict(self._all[key])))
                self._unwritten.discard(key)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"

    def _now(self) -> int:
        """Later than all that is noted, also where the clock was set back: no trial ends before it began."""
        noted = [ms for one in self._all.values() for ms in (one.started_ms, one.ended_ms or 0)]
        return max([int(time.time() * 1000), *(ms + 1 for ms in noted)])


def read_attempts(folder: Path, study: str) -> dict[str, Attempt]:
    """The attempts in a folder by key; those of another study, which left the folder to this one, are not."""
    found = [_attempt(json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]
    return {one.key: one for one in found if one.study == study}


def _attempt(value: Mapping[str, Any]) -> Attempt:
    curves = tuple(Curve(**curve) for curve in value["curves"])
    return Attempt(**{**value, "trial": Trial.from_dict(value["trial"]), "curves": curves})
