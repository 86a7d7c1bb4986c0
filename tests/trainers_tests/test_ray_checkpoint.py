"""Checkpoints through Ray Train itself: workers killed by SIGKILL, and a run that a new driver takes up."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from test_checkpoint import untimed
from tiny_trial import job, pool, save_model, setting

from pools.errors import TrainingError
from trainers.config import ResourcesConfig
from trainers.context import WorkerContext
from trainers.job import run_trial
from trainers.ray_job import run_on_ray

HERE = Path(__file__).parent
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    import ray

    from search.cluster import WORKERS

    path = f"{HERE.parent.parent}{os.pathsep}{HERE}"
    ray.init(num_cpus=2, runtime_env={"env_vars": {**WORKERS, "PYTHONPATH": path}}, log_to_driver=False)
    yield
    ray.shutdown()


class Doomed:
    """A worker's context that kills its process at the logged steps in `deaths`, once each."""

    def __init__(self, context: WorkerContext, folder: Path, deaths: tuple[int, ...]) -> None:
        self._context, self._log, self._deaths = context, folder / "steps", deaths

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def progress(self, update: Mapping[str, float]) -> None:
        with self._log.open("a") as log:
            log.write(f"{update['seed']:.0f}.{update['step']:.0f} ")
        told = self._log.read_text().split()
        if len(told) in self._deaths:
            os.kill(os.getpid(), signal.SIGKILL)


def run(folder: Path, name: str, deaths: tuple[int, ...] = ()) -> Any:
    given = job(setting(folder / "model", evaluate=3))
    (folder / name).mkdir(exist_ok=True)
    return run_on_ray(
        lambda context: [
            asdict(result) for result in run_trial(given, pool(), Doomed(context, folder / name, deaths))
        ],
        name=name,
        label=name,
        resources=ResourcesConfig(max_failures=1),
        storage=str(folder / "storage"),
    )


def test_a_trial_survives_the_death_of_its_workers_and_of_its_run(cluster: None, tmp_path: Path) -> None:
    save_model(tmp_path / "model")
    whole = run(tmp_path, "whole")
    with pytest.raises(TrainingError, match="died|killed|failed"):
        run(tmp_path, "killed", (5, 9))  # at step 5 of seed 0, and again at step 1 of seed 1
    results = run(tmp_path, "killed")
    assert untimed(results) == untimed(whole)
    told = (tmp_path / "killed" / "steps").read_text().split()
    assert told == ["0.1", "0.2", "0.3", "0.4", "0.5", *["0.5", "0.6", "0.7", "1.1"], *told[9:]]
    assert told[9:] == ["0.7", *[f"1.{step}" for step in range(1, 8)]]
    kept = [path.name for path in (tmp_path / "storage" / "killed").glob("step*")]
    assert len(kept) == 1
