"""What a study tells a tracking service, and the in-memory twin that tests and dry runs use.

A tracker is told of things as they happen, by one process, and never answers back: no call waits for a
service, and none of them fails because a service does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, SupportsFloat, TypeAlias

Scalar: TypeAlias = str | int | float | bool
Status: TypeAlias = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True, kw_only=True)
class StepPoint:
    """Metrics of one step; `timestamp_ms` is Unix time in milliseconds, fixed when the step was taken."""

    step: int
    metrics: Mapping[str, float | None]
    timestamp_ms: int


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The pool that a study drew on: `digest` identifies its content, `profile` counts what it holds."""

    name: str
    digest: str
    source: str
    profile: Mapping[str, int | float | str] = field(default_factory=dict)
    context: str = "training"


class Tracker(Protocol):
    """Where a study and its trials are shown.

    A trial is known by its `key`, a hash of its configuration: starting a key again goes on with the run
    it has (a resumed study, a point topped up with more seeds) and never makes a second one. Likewise a
    second `start_study` on the same folder reopens the study's run. Parameters are written once: the
    first value stays. Repeating a call changes nothing. A call for a key that was never started is
    dropped. A metric's name belongs either to a series of steps or to the final figures, not to both;
    a metric that is None is left out.
    """

    def start_study(self, *, name: str, params: Mapping[str, Scalar], tags: Mapping[str, str]) -> None:
        """Open the study's run."""

    def start_trial(
        self, key: str, *, params: Mapping[str, Scalar], tags: Mapping[str, str], name: str = ""
    ) -> None:
        """Open the trial's run beneath the study's; `name` is what people read, by default the key."""

    def unfinished(self) -> Sequence[str]:
        """The keys of the trials that were started and not finished, by this process or one before it."""

    def log_steps(self, key: str | None, points: Sequence[StepPoint]) -> None:
        """Add points to the series of a trial, or of the study itself where `key` is None."""

    def finish_trial(self, key: str, *, metrics: Mapping[str, float | None], status: Status) -> None:
        """Write the final figures of a trial and close its run."""

    def log_artifact(self, path: Path, *, key: str | None = None) -> None:
        """Keep a file, or a folder with all it holds, with the trial, or with the study (None)."""

    def log_dataset(self, dataset: Dataset) -> None:
        """Note which pool the study drew on."""

    def register_policy(self, place: str, *, key: str, name: str) -> None:
        """Register a trained policy as a version of `name`.

        A folder is kept with its trial; what lies at a URI stays where it is, and the version points there.
        """

    def finish_study(self, *, metrics: Mapping[str, float | None], status: Status) -> None:
        """Write the study's final figures and close its run."""

    def flush(self, timeout_s: float) -> bool:
        """Wait at most `timeout_s` seconds until all is delivered; whether it was."""

    def close(self, timeout_s: float) -> bool:
        """`flush`, then end what works in the background. Nothing may be called afterwards."""

    def pending(self) -> str:
        """What is not delivered yet, why, and how to deliver it, for a person to read; empty if nothing."""

    def where(self) -> str:
        """The command or address that shows this study, for the terminal."""


@dataclass
class TrackedRun:
    """What a tracker knows of one study or trial. `steps` maps a metric to its (step, value) in order."""

    name: str
    params: dict[str, Scalar] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    steps: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    artifacts: list[str] = field(default_factory=list)
    status: str = "RUNNING"


class MemoryTracker:
    """A tracker that only remembers: the twin of the real ones, held to the same conformance suite."""

    def __init__(self) -> None:
        self.study: TrackedRun | None = None
        self.trials: dict[str, TrackedRun] = {}
        self.datasets: list[Dataset] = []
        self.registered: dict[str, list[str]] = {}

    def start_study(self, *, name: str, params: Mapping[str, Scalar], tags: Mapping[str, str]) -> None:
        self.study = _opened(self.study or TrackedRun(name), params, {**tags, "role": "study"})

    def start_trial(
        self, key: str, *, params: Mapping[str, Scalar], tags: Mapping[str, str], name: str = ""
    ) -> None:
        run = self.trials.setdefault(key, TrackedRun(name or key))
        _opened(run, params, {**tags, "role": "trial"})

    def unfinished(self) -> Sequence[str]:
        return [key for key, run in self.trials.items() if run.status == "RUNNING"]

    def log_steps(self, key: str | None, points: Sequence[StepPoint]) -> None:
        if run := self._run(key):
            for point in points:
                for name, value in numbers(point.metrics).items():
                    series = run.steps.setdefault(name, [])
                    if (point.step, value) not in series:
                        series.append((point.step, value))

    def finish_trial(self, key: str, *, metrics: Mapping[str, float | None], status: Status) -> None:
        self._finish(key, metrics, status)

    def finish_study(self, *, metrics: Mapping[str, float | None], status: Status) -> None:
        self._finish(None, metrics, status)

    def log_artifact(self, path: Path, *, key: str | None = None) -> None:
        if (run := self._run(key)) and path.name not in run.artifacts:
            run.artifacts.append(path.name)

    def log_dataset(self, dataset: Dataset) -> None:
        if dataset not in self.datasets:
            self.datasets.append(dataset)

    def register_policy(self, place: str, *, key: str, name: str) -> None:
        if "://" not in place:
            self.log_artifact(Path(place), key=key)
        if key in self.trials and key not in self.registered.setdefault(name, []):
            self.registered[name].append(key)

    def flush(self, timeout_s: float) -> bool:
        return True

    def close(self, timeout_s: float) -> bool:
        return True

    def pending(self) -> str:
        return ""

    def where(self) -> str:
        return "nowhere: this study was tracked in memory only"

    def _run(self, key: str | None) -> TrackedRun | None:
        return self.study if key is None else self.trials.get(key)

    def _finish(self, key: str | None, metrics: Mapping[str, float | None], status: Status) -> None:
        if run := self._run(key):
            run.metrics.update(numbers(metrics))
            run.status = status


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """What can be drawn: a figure that a trial does not have (None) is left out."""
    return {k: float(v) for k, v in values.items() if isinstance(v, SupportsFloat)}


def _opened(run: TrackedRun, params: Mapping[str, Scalar], tags: Mapping[str, str]) -> TrackedRun:
    run.params = {**params, **run.params}
    run.tags.update(tags)
    run.status = "RUNNING"
    return run
