"""A study's processes killed under it: nothing finished is lost, nothing runs twice, nothing stays behind."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import time
from pathlib import Path

import psutil
import pytest
from support.paths import ROOT
from support.study_runs import family, named, start, wait_for

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(500)]
TUNE, TRAIN = "ray::ImplicitFunc", "ray::RayTrainWorker"
# Two processes of Ray that try for a minute to tell a store of state, dead as well, of their raylet's death.
AGENT = "Agent"


FAULTY = """
import ctypes, resource, time
from pathlib import Path

HERE = Path(__file__).parent

def score(prompt, response):
    first = HERE / "first"
    if not first.exists():
        first.write_text(prompt.text)
    if prompt.text == first.read_text():  # another evaluation begins
        (HERE / "evaluations").open("a").write("x")
        {"xx": hang, "xxx": starve}.get((HERE / "evaluations").read_text(), id)(None)
    return min(len(response) / 40, 1.0)

def hang(_):
    time.sleep(3600)

def starve(_):
    '''From here on this process gets no more memory than it has.'''
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize(),) * 2)
"""


def rows(database: Path, query: str) -> list[tuple[str, ...]]:
    with sqlite3.connect(database) as opened:
        return list(opened.execute(query))


def test_killed_at_every_level_resumed_and_interrupted(
    script: Path, model: Path, lingering: list[psutil.Process], tmp_path: Path
) -> None:
    pool, folder, log = tmp_path / "pool.jsonl.gz", tmp_path / "smoke", tmp_path / "log"
    demo = ROOT / "pools" / "demo" / "demo.jsonl.gz"
    shutil.copy(demo, pool)
    (modules := tmp_path / "modules").mkdir()
    (modules / "faulty.py").write_text(FAULTY)
    more = ["--pool.path", str(pool), "--search.max_concurrent", "1", "--trainer.steps", "10"]
    more += ["--reward.function", "faulty:score", "--reward.timeout", "3", "--pool.stream_above", "0"]
    process = start(script, model, folder, log, *more, modules=modules)

    wait_for(lambda: log.read_text().count(" FAILED: ") == 2, log, process)
    assert "did not score 8 responses within 3 s (reward.timeout)" in log.read_text()
    assert "out of memory on cpu" in log.read_text()
    wait_for(lambda: named(process, TRAIN) and named(process, TUNE), log, process)
    pool.unlink()  # it was read; no trial needs it any more
    named(process, TUNE)[0].kill()
    wait_for(lambda: list((folder / "trials").glob("*.json")), log, process)
    assert log.read_text().count(" FAILED: ") == 2 and "Traceback" not in log.read_text(), log.read_text()
    assert "ActorDiedError" in (folder / "logs" / "ray.log").read_text()

    wait_for(lambda: log.read_text().count(" started: ") == 5, log, process)
    agents = named(process, AGENT)
    orphans = [child for child in family(process) if child not in agents]
    assert agents and orphans
    lingering += agents
    process.kill()
    process.wait()
    kept = {path: path.stat().st_mtime_ns for path in (folder / "trials").iterdir()}

    shutil.copy(demo, pool)
    process = start(script, model, folder, log, *more, "--resume", modules=modules)
    wait_for(lambda: " started: " in log.read_text(), log, process)
    children = family(process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 130, log.read_text()[-3000:]
    assert children and not psutil.wait_procs(orphans + children, timeout=30)[1]
    said = log.read_text()
    assert f"{len(kept)} finished trials of an earlier run are kept" in said
    assert f"stopped: {len(kept)} finished trials are kept" in said
    assert all(path.stat().st_mtime_ns == written for path, written in kept.items())
    runs = rows(folder / "mlflow.db", "select name, status from runs")
    alive = [name for name, status in runs if status != "FAILED"]  # a failed trial's next try has other seeds
    assert len(alive) == len(set(alive))
    assert sorted(status for _, status in runs) == ["FAILED"] * 2 + ["FINISHED"] * len(kept) + ["KILLED"] * 2
    states = rows(folder / "optuna.db", "select state from trials where state = 'COMPLETE'")
    assert len(states) == len(kept)
