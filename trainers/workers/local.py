"""TODO"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.workers.context import Writer

if TYPE_CHECKING:
    from trainers.spec import SeedResult
    from trainers.workers.store import Checkpoints


@dataclass
class LocalContext:
    """A worker without Ray, for tests and notebooks: progress kept in a list, checkpoints in a folder."""

    rank: int = 0
    world_size: int = 1
    device: str = "cpu"
    updates: list[dict[str, float]] = field(default_factory=list)
    results: list[SeedResult] = field(default_factory=list)
    checkpoints: Path | None = None

    def progress(self, update: Mapping[str, float]) -> None:
        self.updates.append(dict(update))

    def seed_ended(self, result: SeedResult) -> None:
        self.results.append(result)

    def save(self, name: str, write: Writer) -> str:
        return self._kept().save(name, write, self)

    def restored(self) -> AbstractContextManager[Path | None]:
        return self._kept().newest() if self.checkpoints else nullcontext(None)

    def _kept(self) -> Checkpoints:
        from trainers.workers.store import Checkpoints

        assert self.checkpoints is not None, "a LocalContext without a folder keeps no checkpoints"
        return Checkpoints(str(self.checkpoints.parent), self.checkpoints.name)
