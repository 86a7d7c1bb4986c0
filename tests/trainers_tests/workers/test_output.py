"""A worker's output is in its log file, whoever writes it, and nowhere else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SAYS = """
import os, sys, pathlib
from trainers.workers.output import captured
print("before")
try:
    with captured(pathlib.Path(sys.argv[1])):
        print("python", flush=True); print("error", file=sys.stderr); os.system("echo child")
        raise ValueError
except ValueError:
    print("after")
"""


def says(path: Path) -> list[str]:
    done = subprocess.run([sys.executable, "-c", SAYS, str(path)], check=True, capture_output=True, text=True)
    return (done.stdout + done.stderr).split()


def test_all_that_is_said_in_the_block_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert says(path) == ["before", "after"]
    said = path.read_text()
    assert sorted(said.split()[:3]) == ["child", "error", "python"]
    assert said.count("Traceback") == 1 and said.endswith("ValueError\n")
    says(path)
    assert path.read_text() == said * 2  # a trial that starts again goes on in its file


def test_without_the_folder_nothing_changes(tmp_path: Path) -> None:
    path = tmp_path / "elsewhere" / "log"
    assert set(says(path)) == {"before", "python", "error", "child", "after"}
    assert not path.parent.exists()
