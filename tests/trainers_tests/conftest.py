"""What several tests of trainers share."""

from __future__ import annotations

import flex_on_cpu
import pytest


@pytest.fixture
def flex_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    """FlexAttention takes gradients on a CPU."""
    flex_on_cpu.allow(monkeypatch.setattr)
