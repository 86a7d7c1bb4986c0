"""How busy the study's machine is: sampled into a file of the study's folder, one JSON line a sample."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

from search.tracking.tracker import StepPoint


class SystemMetrics(threading.Thread):
    """Adds a sample to the file `path` every `interval_s` seconds, and then calls `changed`.

    The names are those that MLflow's page of system metrics reads. What a full disk refuses is lost.
    """

    def __init__(self, path: Path, interval_s: float, changed: Callable[[], None]) -> None:
        super().__init__(name="system-metrics", daemon=True)
        self._path, self._interval, self._changed = path, interval_s, changed
        self.stop = threading.Event()

    def run(self) -> None:
        monitors: list[Any] = []
        while not self.stop.wait(self._interval):
            monitors = monitors or _monitors()
            values: dict[str, float] = {}
            for monitor in monitors:
                monitor.collect_metrics()
                values.update(monitor.aggregate_metrics())
                monitor.clear_metrics()
            row = {"time_ms": int(time.time() * 1000), "values": values}
            with contextlib.suppress(OSError), self._path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            self._changed()


def samples(path: Path, after: int) -> list[StepPoint]:
    """The samples in the file from its line `after` on; the step of each is its line."""
    if not path.exists():
        return []
    found = []
    with path.open() as file:
        for step, line in enumerate(islice(file, after, None), after):
            with contextlib.suppress(ValueError, KeyError):  # a line that a full disk or a crash cut short
                row = json.loads(line)
                metrics = {f"system/{name}": value for name, value in row["values"].items()}
                found.append(StepPoint(step=step, metrics=metrics, timestamp_ms=row["time_ms"]))
    return found


def _monitors() -> list[Any]:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    with contextlib.suppress(Exception):  # no NVIDIA GPU, or no library to ask it
        monitors.append(GPUMonitor())
    return monitors
