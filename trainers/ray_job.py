"""Running a trial's work on Ray Train: the one file that touches it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from pools.errors import TrainingError
from trainers.config import ResourcesConfig


class RayContext:
    """The worker that Ray Train started; progress goes to the study's board, an actor, without waiting."""

    def __init__(self, board: Any, label: str, cpus: float) -> None:
        import ray.train
        import ray.train.torch
        import torch

        train = ray.train.get_context()
        self.rank, self.world_size = train.get_world_rank(), train.get_world_size()
        self.device = str(ray.train.torch.get_device())
        self._board, self._label = board, label
        if self.device == "cpu":
            torch.set_num_threads(max(1, int(cpus)))

    def progress(self, update: Mapping[str, float]) -> None:
        if self.rank == 0 and self._board is not None:
            with contextlib.suppress(Exception):  # who watches must never end a trial
                self._board.update.remote(self._label, dict(update))


def run_on_ray(
    work: Callable[[RayContext], Any],
    *,
    name: str,
    label: str,
    resources: ResourcesConfig,
    storage: str,
    board: Any = None,
) -> Any:
    """Run `work` on a group of Ray Train workers and return rank 0's value.

    `name` is unique in `storage`: Ray Train continues a run of the same name by itself. Raises
    TrainingError with the worker's own message when the work fails more often than resources.max_failures.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    def loop() -> Any:
        return work(RayContext(board, label, resources.cpus_per_worker))

    per_worker = {"CPU": resources.cpus_per_worker, "GPU": resources.gpus_per_worker}
    trainer = TorchTrainer(
        loop,
        scaling_config=ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker={kind: amount for kind, amount in per_worker.items() if amount},
        ),
        run_config=RunConfig(
            name=name, storage_path=storage, failure_config=FailureConfig(max_failures=resources.max_failures)
        ),
    )
    try:
        return trainer.fit().return_value
    except Exception as error:
        raise TrainingError(_cause(error)) from error


def _cause(error: BaseException) -> str:
    """The last line of the first worker's own traceback, which is what a user can act on."""
    failures = getattr(error, "worker_failures", None) or {0: error}
    lines = str(next(iter(failures.values()))).strip().splitlines() or [repr(error)]
    return lines[-1]
