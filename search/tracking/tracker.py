"""What a tracking service shows of a study, and the in-memory twin that tests and dry runs use.

A tracker is a projection: it is given each run whole, as the study's folder holds it now, and brings what
the service shows in line. Repeating a call changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, SupportsFloat, TypeAlias

from search.tracking.config import redact

Scalar: TypeAlias = str | int | float | bool
Status: TypeAlias = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
STUDY = "study"  # the key of the study's own run; a trial's is a digest of what it trains


class Rejected(Exception):
    """A service will never accept this run as it is."""


class UploadFailed(Exception):
    """A run is shown, but its files could not be stored: services keep files in a store of their own."""


@dataclass(frozen=True, kw_only=True)
class StepPoint:
    """Metrics of one step; `timestamp_ms` is Unix time in milliseconds, the same whenever it is sent."""

    step: int
    metrics: Mapping[str, float | None]
    timestamp_ms: int


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The pool that a run drew on: `digest` identifies its content, `profile` counts what it holds."""

    name: str
    digest: str
    source: str
    profile: Mapping[str, int | float | str] = field(default_factory=dict)
    context: str = "training"


@dataclass(frozen=True, kw_only=True)
class SavedPolicy:
    """A trained policy, in a folder or at a URI, that becomes a version of the registered model `name`."""

    location: str
    name: str


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """All that is shown of a study (its key is STUDY) or of one of its trials; times in ms since 1970.

    A metric's name belongs either to `steps` or to the final `metrics`, not to both; one that is None is
    left out. `files` may be folders. `colour` (hex) is that of its marks in charts, "" where any will do.
    """

    key: str
    name: str
    status: Status
    started_ms: int
    ended_ms: int | None = None
    params: Mapping[str, Scalar] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    steps: Sequence[StepPoint] = ()
    dataset: Dataset | None = None
    files: Sequence[Path] = ()
    policy: SavedPolicy | None = None
    colour: str = ""

    @cached_property
    def digest(self) -> str:
        """Stands for the whole content, that of the files included."""
        found = hashlib.sha256(json.dumps(asdict(self), sort_keys=True, default=str).encode())
        for path in self.files:
            for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
                found.update(file.read_bytes() if file.is_file() else b"")
        return found.hexdigest()[:16]


class Tracker(Protocol):
    """A service that shows a study. Every method may block, and raise when the service is in trouble.

    A trial's run is found again by its `key`, whoever made it: there is never a second one. Parameters are
    written once, so that the first value stays; of two values of a final metric the later counts.
    """

    def known(self) -> Mapping[str, str]:
        """The keys of the runs that the service has, with the digest of what it was last given in full."""

    def put(self, run: TrackedRun) -> None:
        """Show `run`, a trial beneath its study, which comes first. Raises Rejected or UploadFailed."""

    def sampled(self) -> int:
        """Up to which step, not included, the service has samples of the study's machine."""

    def sample(self, points: Sequence[StepPoint]) -> None:
        """Add such samples to the study's run; those that are there already are left alone."""

    def where(self) -> str:
        """The command or address that shows this study, for the terminal."""


@dataclass
class ShownRun:
    """What a service shows of one run. `steps` maps a metric to its (step, value) in order."""

    name: str
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    steps: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    datasets: list[str] = field(default_factory=list)
    status: str = "RUNNING"


class MemoryTracker:
    """A tracker that only remembers: the twin of the real one, held to the same conformance suite."""

    def __init__(self) -> None:
        self.runs: dict[str, ShownRun] = {}
        self.registered: dict[str, list[str]] = {}
        self._digests: dict[str, str] = {}
        self._sampled = 0

    @property
    def trials(self) -> dict[str, ShownRun]:
        """The trials' runs by key."""
        return {key: run for key, run in self.runs.items() if key != STUDY}

    def known(self) -> Mapping[str, str]:
        return dict(self._digests)

    def put(self, run: TrackedRun) -> None:
        if run.key != STUDY and STUDY not in self.runs:
            raise Rejected("the run of its study is not shown")
        shown = self.runs.setdefault(run.key, ShownRun(run.name))
        shown.params = plain(run.params) | shown.params
        shown.tags |= plain(run.tags) | {"role": "study" if run.key == STUDY else "trial"}
        shown.metrics |= numbers(run.metrics)
        shown.status = run.status
        self._add(shown, run.steps)
        names = [path.name for path in run.files]
        if run.policy and "://" not in run.policy.location:
            names.append(Path(run.policy.location).name)
        shown.files = sorted({*shown.files, *names})
        if run.dataset:
            shown.datasets = sorted({*shown.datasets, run.dataset.name})
        if run.policy and run.key not in self.registered.setdefault(run.policy.name, []):
            self.registered[run.policy.name].append(run.key)
        self._digests[run.key] = run.digest

    def sampled(self) -> int:
        return self._sampled

    def sample(self, points: Sequence[StepPoint]) -> None:
        self._add(self.runs[STUDY], points)
        self._sampled = points[-1].step + 1

    def where(self) -> str:
        return "nowhere: this study was tracked in memory only"

    def _add(self, shown: ShownRun, points: Sequence[StepPoint]) -> None:
        for point in points:
            for name, value in numbers(point.metrics).items():
                series = shown.steps.setdefault(name, [])
                if (point.step, value) not in series:
                    series.append((point.step, value))


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """What can be drawn: a figure that a trial does not have (None) is left out."""
    return {k: float(v) for k, v in values.items() if isinstance(v, SupportsFloat)}


def plain(values: Mapping[str, Any]) -> dict[str, str]:
    """Parameters or tags as text, secrets of URIs left out."""
    return {k: redact(str(v)) for k, v in values.items()}
