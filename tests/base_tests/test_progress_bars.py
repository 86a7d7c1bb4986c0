"""Bars are off for a block, and afterwards as they were, also after an error."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from huggingface_hub.utils import are_progress_bars_disabled
from transformers.utils import logging

from base.progress_bars import without_progress_bars


@pytest.fixture
def bars() -> Iterator[None]:
    """Bars are on, and are again what they were when the test is over."""
    was = logging.is_progress_bar_enabled()
    logging.enable_progress_bar()
    yield
    (logging.enable_progress_bar if was else logging.disable_progress_bar)()


@pytest.mark.usefixtures("bars")
@pytest.mark.parametrize("shown", [True, False])
def test_bars_are_off_within_the_block_alone(shown: bool) -> None:
    if not shown:
        logging.disable_progress_bar()
    with pytest.raises(OSError, match="no route"), without_progress_bars():
        assert not logging.is_progress_bar_enabled() and are_progress_bars_disabled()
        raise OSError("no route to host")
    assert logging.is_progress_bar_enabled() == shown == (not are_progress_bars_disabled())
