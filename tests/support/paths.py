"""Where subprocesses of tests find the packages and what tests share."""

from __future__ import annotations

import os
from pathlib import Path

TESTS = Path(__file__).parent.parent
ROOT = TESTS.parent
PYTHONPATH = f"{ROOT}{os.pathsep}{TESTS}"
