"""A real browser for tests of pages: Debian's Chromium, driven by playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def chromium(what: str) -> Iterator[Any]:
    """The browser, headless; the test is skipped, saying that `what` is not tested, where there is none."""
    api = pytest.importorskip(
        "playwright.sync_api", reason=f"playwright is not installed: {what} is NOT tested"
    )
    if CHROMIUM is None:
        pytest.skip(f"no chromium on the PATH (apt-get install chromium): {what} is NOT tested")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()
