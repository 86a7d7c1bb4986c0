"""What tests that run whole studies share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from support.paths import ROOT


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`run.py` alone, somewhere else: that is what `ray submit` does with it."""
    path = tmp_path_factory.mktemp("home") / "run.py"
    path.write_text((ROOT / "search" / "run.py").read_text())
    return path


@pytest.fixture(scope="session")
def lingering() -> Iterator[list[psutil.Process]]:
    """Processes that may outlast their test by a minute; when the last test has run they must be gone."""
    processes: list[psutil.Process] = []
    yield processes
    assert not psutil.wait_procs(processes, timeout=90)[1]
