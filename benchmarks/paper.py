"""Where the figures of Song et al. 2024 lie: they are read for measuring, and are no part of the project."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

BESIDE = Path(__file__).parents[2] / "shared" / "data"


def paper_figures() -> dict[str, Any]:
    """Table 1 and the points of Figure 4, from `song2024.json` in the folder that $APPORTION_DATA names.

    Raises FileNotFoundError where they are not.
    """
    path = Path(os.environ.get("APPORTION_DATA", BESIDE)) / "song2024.json"
    if not path.is_file():
        raise FileNotFoundError(f"no figures of Song et al. at {path}: set APPORTION_DATA to their folder")
    figures: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return figures
