"""The log of how far a study came when."""

from __future__ import annotations

import os
import pickle
import re
import time
from pathlib import Path

from base.timeline import Timeline


def test_each_milestone_is_a_line_with_its_time_and_process(tmp_path: Path) -> None:
    log = tmp_path / "timeline.log"
    timeline = Timeline(log, time.time() - 100)
    timeline.reach("pool read")
    timeline.reach("model loaded", "16 x 2")
    first, second = log.read_text().splitlines()
    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}"
    assert re.fullmatch(rf"{moment} +100\.\d\d s  process {os.getpid()}, CPU \d+\.\d\d s  pool read", first)
    assert second.endswith("  16 x 2: model loaded")


def test_a_milestone_is_reached_once_a_process(tmp_path: Path) -> None:
    log = tmp_path / "timeline.log"
    here = Timeline(log, time.time())
    there = pickle.loads(pickle.dumps(here))  # as a worker gets it
    for timeline in (here, here, there):
        timeline.reach("first training step done", "16 x 2")
    here.reach("first training step done", "8 x 4")
    assert len(log.read_text().splitlines()) == 2


def test_a_machine_without_the_folder_goes_on_without_a_log(tmp_path: Path) -> None:
    Timeline(tmp_path / "elsewhere" / "timeline.log", time.time()).reach("worker up")
    assert not list(tmp_path.iterdir())
