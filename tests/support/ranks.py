"""A script that is run once for each rank of a group of workers, all at the same time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.paths import PYTHONPATH


def run_ranks(script: Path, world: int, folder: Path, *arguments: object) -> None:
    """Run `script RANK WORLD STORE FOLDER *ARGUMENTS` in `world` processes; STORE is where these meet."""
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH, "OMP_NUM_THREADS": "1", "LOCAL_RANK": "0"}
    shared = [str(world), str(folder / f"store-{world}"), str(folder), *map(str, arguments)]
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), *shared],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(world)
    ]
    said = [process.communicate(timeout=540)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(text[-3000:] for text in said)
