"""How long it took to come how far: a line for each milestone in a log file."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path


@dataclass
class Timeline:
    """Appends milestones to the file `path`.

    A line holds the time of day, seconds since `began` (Unix time), the process, the CPU seconds that it has
    used so far, and what was reached.

    Several processes may write to it, each with a copy of its own. One that has no folder there, on another
    machine, writes nothing.
    """

    path: Path
    began: float
    _reached: set[str] = field(default_factory=set)

    def reach(self, milestone: str, of: str = "") -> None:
        """Write down that `milestone` is reached, the first time that this copy meets it; never raises."""
        if milestone in self._reached:
            return
        self._reached.add(milestone)
        now = time.time()
        moment = datetime.fromtimestamp(now).isoformat(sep=" ", timespec="milliseconds")
        what = f"{of}: {milestone}" if of else milestone
        with suppress(OSError), self.path.open("a") as file:
            used = f"process {os.getpid()}, CPU {time.process_time():.2f} s"
            file.write(f"{moment} {now - self.began:8.2f} s  {used}  {what}\n")
