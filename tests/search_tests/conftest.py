"""What tests that run whole studies share."""

from __future__ import annotations

from pathlib import Path

import pytest
from studies import ROOT


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`run.py` alone, somewhere else: that is what `ray submit` does with it."""
    path = tmp_path_factory.mktemp("home") / "run.py"
    path.write_text((ROOT / "search" / "run.py").read_text())
    return path
