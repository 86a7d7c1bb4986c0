"""Running a trial's work on Ray Train: the one file that touches it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pools.errors import ApportionError, RefusedError, TrainingError
from trainers.chatter import captured
from trainers.config import ResourcesConfig
from trainers.context import Writer
from trainers.storage import drop_broken, keep_local, keep_remote

PAUSE_S = 15.0  # in which Ray notices that a machine is gone


@dataclass(frozen=True)
class _Refusal:
    """In place of a value: why the work ended, where starting it again would not help."""

    reason: str


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

    def save(self, name: str, write: Writer) -> str:
        """See `WorkerContext.save`. Ray Train learns of a checkpoint once all of it is where it belongs.

        Its own upload would fail on one worker alone, and leave the others waiting.
        """
        import ray.train
        from pyarrow.fs import LocalFileSystem

        storage = ray.train.get_context().get_storage()
        filesystem, path = storage.storage_filesystem, f"{storage.experiment_fs_path}/{name}"
        if isinstance(filesystem, LocalFileSystem):
            keep_local(Path(path), write, self)
        else:
            keep_remote(filesystem, path, write, self)
        ray.train.report(
            {"checkpoint": name},
            checkpoint=ray.train.Checkpoint(path, filesystem),
            checkpoint_upload_mode=ray.train.CheckpointUploadMode.NO_UPLOAD,
        )
        return path

    @contextlib.contextmanager
    def restored(self) -> Iterator[Path | None]:
        """See `WorkerContext.restored`."""
        import ray.train

        if (checkpoint := ray.train.get_checkpoint()) is None:
            yield None
            return
        with checkpoint.as_directory() as folder:
            yield Path(folder)


def run_on_ray(
    work: Callable[[RayContext], Any],
    *,
    name: str,
    label: str,
    resources: ResourcesConfig,
    storage: str,
    board: Any = None,
    keep_checkpoints: int = 1,
    logs: str | None = None,
) -> Any:
    """Run `work` on a group of Ray Train workers and return rank 0's value.

    `name` is unique in `storage`: a run of the same name goes on from the newest of its last
    `keep_checkpoints` checkpoints, also after its driver was killed. A worker that is lost starts the work
    again, at most resources.max_failures times; an error that all workers raise does not. Raises
    TrainingError with the worker's own message. What a worker and its libraries print goes to a file of its
    own in the folder `logs`, which the error names.
    """
    import ray
    from ray.train import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig

    def loop() -> Any:
        context = RayContext(board, label, resources.cpus_per_worker)
        try:
            with captured(_log(logs, name, context.rank)):
                return work(context)
        except ApportionError as error:
            if isinstance(error, RefusedError) or context.world_size == 1:
                return _Refusal(str(error))
            raise  # the other workers wait for this one: they have to be ended

    per_worker = {"CPU": resources.cpus_per_worker, "GPU": resources.gpus_per_worker}
    trainer = _lean_trainer()(
        loop,
        scaling_config=ScalingConfig(
            num_workers=resources.workers,
            use_gpu=resources.gpus_per_worker > 0,
            resources_per_worker={kind: amount for kind, amount in per_worker.items() if amount},
        ),
        run_config=RunConfig(
            name=name,
            storage_path=storage,
            failure_config=FailureConfig(max_failures=resources.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=keep_checkpoints),
        ),
    )
    drop_broken(storage, name, ray.__version__)
    try:
        value = _fit(trainer, resources.max_failures)
    except Exception as error:
        raise TrainingError(_cause(error) + _where(logs, name)) from error
    finally:
        if board is not None:
            board.forget.remote(label)
    if isinstance(value, _Refusal):
        raise TrainingError(value.reason + _where(logs, name))
    return value


def _lean_trainer() -> Any:
    """Ray's trainer, without the process that would hand out parts of Ray Data sets: a trial has none.

    The method is internal to Ray; where it is gone, that process is started again and nothing else changes.
    """
    from ray.train.torch import TorchTrainer

    class LeanTrainer(TorchTrainer):
        def _create_default_callbacks(self) -> list[Any]:
            callbacks = super()._create_default_callbacks()
            return [callback for callback in callbacks if type(callback).__name__ != "DatasetsCallback"]

    return LeanTrainer


def _fit(trainer: Any, retries: int) -> Any:
    """The run's value; a run that lost a machine is begun again, at most `retries` times.

    Ray Train starts lost workers again by itself, but gives up where one is lost while it starts them, or
    where it puts them on a dead machine that Ray still takes for alive.
    """
    for left in range(retries, -1, -1):
        try:
            return trainer.fit().return_value
        except Exception as error:
            if not left or not _lost_a_machine(error):
                raise
        time.sleep(PAUSE_S)


def _lost_a_machine(error: Exception) -> bool:
    """Whether a worker was lost with its machine, and not by what it did."""
    from ray.exceptions import ActorUnavailableError, RayActorError

    if isinstance(getattr(error, "controller_failure", None), RayActorError):
        return True
    failures = getattr(error, "worker_failures", None) or {}
    causes = [getattr(one, "health_check_failure", one) for one in failures.values()]
    return any(
        isinstance(cause, ActorUnavailableError) or "node was terminated" in str(cause) for cause in causes
    )


def _log(logs: str | None, name: str, rank: int) -> Path | None:
    return Path(logs) / f"{name}-rank{rank}.log" if logs else None


def _where(logs: str | None, name: str) -> str:
    path = _log(logs, name, 0)
    return f" (its output: {path})" if path and path.exists() else ""


def _cause(error: BaseException) -> str:
    """Why the first worker failed: the last line of its own traceback, or what ends it without one."""
    failures = getattr(error, "worker_failures", None) or {0: error}
    rank, failure = next(iter(failures.items()))
    if (death := getattr(failure, "health_check_failure", None)) is not None:
        return (
            f"worker {rank} died without a word ({type(death).__name__}): most often its node had no memory "
            "left, or was taken away"
        )
    lines = str(failure).strip().splitlines() or [repr(error)]
    return lines[-1]
