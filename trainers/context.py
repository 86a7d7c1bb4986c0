"""What a training sees of the machinery around it: its rank, its device, and somewhere to report progress."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


class WorkerContext(Protocol):
    """One worker of a trial. `ray_job` gives the real one."""

    @property
    def rank(self) -> int: ...

    @property
    def world_size(self) -> int: ...

    @property
    def device(self) -> str: ...

    def progress(self, update: Mapping[str, float]) -> None:
        """Tell whoever watches how far this worker is; returns at once and never raises."""


@dataclass
class LocalContext:
    """A worker without Ray, for tests and notebooks: one process, progress kept in a list."""

    rank: int = 0
    world_size: int = 1
    device: str = "cpu"
    updates: list[dict[str, float]] = field(default_factory=list)

    def progress(self, update: Mapping[str, float]) -> None:
        self.updates.append(dict(update))
