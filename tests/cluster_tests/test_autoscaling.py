"""A study on a cluster that grows from nothing, loses a machine, and shrinks again: Ray's own autoscaler."""

from __future__ import annotations

import contextlib
import csv
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.own_ray import growing_cluster, marked, wait_for, worker_raylets
from support.paths import ROOT

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]


def test_workers_come_a_lost_one_is_made_good_and_all_leave(model: Path, tmp_path: Path) -> None:
    folder, log = tmp_path / "smoke", tmp_path / "log"
    command = [sys.executable, ROOT / "search" / "run.py", "--config", "configs/smoke.yaml"]
    command += [
        "--output-dir",
        folder,
        "--model.name",
        model,
        "--tracking.uri",
        "none",
        "--search.seeds",
        "1",
    ]
    command += ["--search.responses", "2", "--search.trials", "2", "--search.plan", "grid"]
    command += ["--trainer.steps", "300", "--trainer.learning_rate", "0.01"]
    with growing_cluster(workers=2) as (cluster, launcher):
        assert not worker_raylets(cluster.mark)
        assert knock(cluster.dashboard, token=None) == 401 and knock(cluster.dashboard, cluster.token) == 200
        environment = cluster.environment(APPORTION_AUTOSCALING=str(launcher), OMP_NUM_THREADS="1")
        with log.open("w") as out, study_process(command, environment, out) as study:

            def ended_or(value: object) -> object:
                assert study.poll() is None, log.read_text()[-4000:]
                return value

            wait_for(lambda: ended_or(log.read_text().count(" started: ") == 2), 240, "two trials")
            assert "[1/2]" not in log.read_text(), log.read_text()[-4000:]
            wait_for(lambda: ended_or(trainers(cluster.mark)), 240, "workers")
            node, worker = sorted(trainers(cluster.mark).items())[0]
            worker_raylets(cluster.mark)[node].send_signal(signal.SIGKILL)
            wait_for(lambda: not worker.is_running(), 30, "end of the lost node's worker")
            assert study.wait(timeout=240) in (0, 1), log.read_text()[-4000:]
        said = log.read_text()
        assert "2 at a time" in said and "FAILED" not in said
        assert len(list((folder / "trials").glob("*.json"))) == 2, said
        assert len(list(csv.DictReader((folder / "trials.csv").open()))) == 2
        wait_for(lambda: not worker_raylets(cluster.mark), 150, "end of the idle workers")


def trainers(mark: str) -> dict[str, psutil.Process]:
    """The processes in which policies are trained, by their node."""
    found = {}
    for process in marked(mark):
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[:1] == ["ray::RayTrainWorker"] or "RayTrainWorker" in process.name():
                found[process.environ()["RAY_OVERRIDE_NODE_ID_FOR_TESTING"]] = process
    return found


@contextlib.contextmanager
def study_process(
    command: list[Any], environment: dict[str, str], out: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A study in a process of its own, which does not outlive the block."""
    words = [str(word) for word in command]
    with subprocess.Popen(words, env=environment, stdout=out, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.kill()


def knock(dashboard: str, token: str | None) -> int:
    """What the dashboard answers to who shows this token."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{dashboard}/api/jobs/", headers=headers)
        ) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
