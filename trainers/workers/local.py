"""A worker without Ray: one process with a list of progress reports and a folder of checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.workers.context import Writer
from trainers.workers.store import Checkpoints

if TYPE_CHECKING:
    from trainers.spec import SeedResult


@dataclass
class LocalContext:
    """The in-memory `WorkerContext`, for tests and notebooks.

    `updates` holds every progress report, `milestones` what was reached. Without a folder `checkpoints`
    nothing is restored, and saving is a programming error.
    """

    rank: int = 0
    world_size: int = 1
    device: str = "cpu"
    updates: list[dict[str, float]] = field(default_factory=list)
    milestones: list[str] = field(default_factory=list)
    results: list[SeedResult] = field(default_factory=list)
    checkpoints: Path | None = None

    def progress(self, update: Mapping[str, float]) -> None:
        """See `WorkerContext.progress`."""
        self.updates.append(dict(update))

    def reach(self, milestone: str) -> None:
        """See `WorkerContext.reach`."""
        if milestone not in self.milestones:
            self.milestones.append(milestone)

    def seed_ended(self, result: SeedResult) -> None:
        """See `WorkerContext.seed_ended`."""
        self.results.append(result)

    def save(self, name: str, write: Writer) -> str:
        """See `WorkerContext.save`."""
        return self._store().save(name, write, self)

    def restored(self) -> AbstractContextManager[Path | None]:
        """See `WorkerContext.restored`."""
        return self._store().newest() if self.checkpoints else nullcontext(None)

    def _store(self) -> Checkpoints:
        assert self.checkpoints is not None, "a LocalContext without a folder saves no checkpoints"
        return Checkpoints(str(self.checkpoints.parent), self.checkpoints.name)
