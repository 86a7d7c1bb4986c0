"""Studies run as a user runs them: the script in a process of its own, on a small random model."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil


def command(script: Path, model: Path, folder: Path, *more: str) -> list[str]:
    fixed = ["--config", "configs/smoke.yaml", "--cluster.address", "local", "--output-dir", str(folder)]
    fixed += ["--model.name", str(model), "--diversity.embedding_model", str(model)]
    fixed += ["--tracking.log_system_metrics", "false"]
    # So much that three steps change what a random model answers: equal rewards are no ground for an answer.
    fixed += ["--trainer.learning_rate", "0.003"]
    return [sys.executable, str(script), *fixed, *more]


def run(script: Path, model: Path, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(script, model, folder, *more), cwd=script.parent, capture_output=True, text=True, timeout=580
    )


def start(
    script: Path, model: Path, folder: Path, log: Path, *more: str, modules: Path
) -> subprocess.Popen[bytes]:
    """The study in the background, all that it says in `log`; the folder `modules` counts as installed."""
    with log.open("wb") as out:
        return subprocess.Popen(
            command(script, model, folder, *more),
            cwd=script.parent,
            env={**os.environ, "PYTHONPATH": str(modules)},
            stdout=out,
            stderr=subprocess.STDOUT,
        )


def wait_for(condition: Callable[[], object], log: Path, process: subprocess.Popen[bytes]) -> None:
    """Return once `condition` holds; fail with the study's words when it ends before, or takes too long."""
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.2)


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """All processes that descend from the study's."""
    return psutil.Process(process.pid).children(recursive=True)


def named(process: subprocess.Popen[bytes], part: str) -> list[psutil.Process]:
    """Those of them whose title holds `part`."""
    found = []
    for child in family(process):
        try:
            if part in " ".join(child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found
