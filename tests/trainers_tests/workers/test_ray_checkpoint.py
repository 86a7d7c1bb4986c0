"""Checkpoints through Ray Train itself: workers killed by SIGKILL, and a run that a new driver takes up."""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.paths import PYTHONPATH
from support.tiny_trial import job, pool, save_model, setup, untimed

from base.errors import NonRetryableError, TrainingError
from trainers.config.trainer import ResourcesConfig
from trainers.spec import TrialSetup
from trainers.trial.job import run_trial
from trainers.workers.context import WorkerContext
from trainers.workers.local import LocalContext
from trainers.workers.worker_pool import WorkerPool

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(500)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    import ray

    from search.cluster.connection import WORKERS

    environment = {"env_vars": {**WORKERS, "PYTHONPATH": f"{PYTHONPATH}{os.pathsep}{Path(__file__).parent}"}}
    ray.init("local", num_cpus=2, runtime_env=environment, log_to_driver=False)
    yield
    ray.shutdown()


class Doomed:
    """A worker's context that kills its process at the logged steps in `deaths`, once each."""

    def __init__(self, context: WorkerContext, log: Path, deaths: tuple[int, ...]) -> None:
        self._context, self._log, self._deaths = context, log, deaths

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def progress(self, update: Mapping[str, float]) -> None:
        if "step" not in update:
            return
        with self._log.open("a") as log:
            log.write(f"{update['seed']:.0f}.{update['step']:.0f} ")
        if len(self._log.read_text().split()) in self._deaths:
            os.kill(os.getpid(), signal.SIGKILL)


def usual(folder: Path) -> TrialSetup:
    """In the precision that a study has by default."""
    return setup(folder / "model", evaluate=3, dtype="bf16")


def run(folder: Path, deaths: tuple[int, ...], max_failures: int) -> Any:
    given, log = job(usual(folder)), folder / "steps"
    with closing(
        WorkerPool(ResourcesConfig(max_failures=max_failures), storage=str(folder / "storage"))
    ) as workers:
        return workers.run(
            lambda context: [
                asdict(result) for result in run_trial(given, pool(), Doomed(context, log, deaths))
            ],
            name="trial",
            label="trial",
        )


def unbroken(folder: Path) -> Any:
    """The same trial in this process, without Ray and without a death."""
    import torch
    import torch.distributed as dist

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=0, world_size=1)
    context = LocalContext(checkpoints=folder / "local")
    results = run_trial(job(usual(folder)), pool(), context)
    assert context.results == results  # each was passed on when its seed ended
    dist.destroy_process_group()
    torch.set_num_threads(threads)
    return json.loads(json.dumps([asdict(result) for result in results]))


def test_a_trial_survives_the_death_of_its_workers_and_of_its_run(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")  # DeepSpeed asks for it
    save_model(tmp_path / "model")
    with pytest.raises(TrainingError, match="exited without an error message"):
        run(tmp_path, (5,), max_failures=0)
    first = (tmp_path / "steps").read_text().split()
    results = run(tmp_path, (9,), max_failures=1)
    logged = (tmp_path / "steps").read_text().split()
    assert first == ["0.1", "0.2", "0.3", "0.4", "0.5"]
    assert logged[5] in ("0.3", "0.5")  # from a checkpoint, not from the start
    assert logged[9] != "0.1" and logged[-7:] == [f"1.{step}" for step in range(1, 8)]
    assert untimed(json.loads(json.dumps(results))) == untimed(unbroken(tmp_path))
    assert len(list((tmp_path / "storage" / "trial").glob("step*"))) == 1


def test_workers_stay_until_a_task_fails(cluster: None, tmp_path: Path) -> None:
    workers = WorkerPool(ResourcesConfig(workers=2, max_failures=3), storage=str(tmp_path))

    def meet(context: WorkerContext) -> list[int]:
        import torch.distributed as dist

        met: list[Any] = [None, None]
        dist.all_gather_object(met, os.getpid())
        return met

    def refuse(context: WorkerContext) -> None:
        (tmp_path / f"start-{uuid.uuid4()}").touch()
        raise NonRetryableError("loss is nan at step 7")

    first, second = (workers.run(meet, name=name, label="") for name in "ab")
    assert first == second and len(set(first)) == 2
    with pytest.raises(TrainingError, match="^loss is nan at step 7$"):
        workers.run(refuse, name="c", label="")
    # What would fail again is not started again, nor are its workers trusted with anything else.
    assert 1 <= len(list(tmp_path.glob("start-*"))) <= 2
    gone = [psutil.Process(pid) for pid in first if psutil.pid_exists(pid)]
    assert not psutil.wait_procs(gone, timeout=30)[1]
