"""What a training sees of the system around it: its rank, its device, progress reports and checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from trainers.spec import SeedResult

Writer = Callable[[Path], None]


class WorkerContext(Protocol):
    """One worker of a trial; `RayContext` and `LocalContext` implement it."""

    @property
    def rank(self) -> int: ...

    @property
    def world_size(self) -> int: ...

    @property
    def device(self) -> str: ...

    def progress(self, update: Mapping[str, float]) -> None:
        """Report figures of this worker's progress by name; returns at once and never raises."""

    def reach(self, milestone: str) -> None:
        """Note when this worker got there for the first time; returns at once and never raises."""

    def seed_ended(self, result: SeedResult) -> None:
        """Hand on the result of a seed, which others may follow; returns at once and never raises."""

    def save(self, name: str, write: Writer) -> str:
        """Save what the workers `write` into one folder as the checkpoint `name`; returns its path.

        A collective: every worker calls it with the same, new name, and writes files of its own. From then
        on `restored` gives this checkpoint. Raises CheckpointError on all workers where one could not write;
        the checkpoint before it then stays the newest.
        """

    def restored(self) -> AbstractContextManager[Path | None]:
        """The newest checkpoint's folder, to be read only; None where there is none."""
