"""What tests of annotation share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from annotation.journal import Journal, opened_journal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """An empty journal."""
    with opened_journal(tmp_path / "journal.jsonl") as made:
        yield made
