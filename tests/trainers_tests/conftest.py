"""What several tests of trainers share."""

from __future__ import annotations

import pytest
from support import flex_on_cpu


@pytest.fixture
def flex_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlexAttention takes gradients on a CPU."""
    flex_on_cpu.allow(monkeypatch.setattr)
