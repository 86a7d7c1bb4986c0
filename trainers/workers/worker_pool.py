"""Running a trial's work on Ray Train: the one file that touches it."""

from __future__ import annotations

import contextlib
import gc
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base.errors import ApportionError, NonRetryableError, TrainingError
from trainers.config.trainer import ResourcesConfig
from trainers.workers.context import Writer
from trainers.workers.mailbox import Mailbox
from trainers.workers.output import captured
from trainers.workers.process_group import take_device, torch_group
from trainers.workers.store import RUNS, Checkpoints

PAUSE_S = 15.0  # in which Ray notices that a machine is gone
SHUTDOWN_TIMEOUT_S = 15.0  # that a study waits at its end for workers to go
IDLE_TIMEOUT_S = 60.0  # that workers wait for more work before they go, and free what they hold


@dataclass(frozen=True)
class _Task:
    """A piece of work: `work` is a list with the reference of a function of the worker's context."""

    name: str
    label: str
    work: list[Any]


@dataclass(frozen=True)
class _Done:
    value: Any


@dataclass(frozen=True)
class _Refusal:
    """In place of a value: why the work ended, where starting it again would not help."""

    reason: str


class RayContext:
    """The worker that Ray Train started; progress goes to the study's board, an actor, without waiting."""

    def __init__(self, place: Checkpoints, board: Any, label: str) -> None:
        import ray.train

        train = ray.train.get_context()
        self.rank, self.world_size = train.get_world_rank(), train.get_world_size()
        self.device = str(take_device())
        self._place, self._board, self._label = place, board, label

    def progress(self, update: Mapping[str, float]) -> None:
        if self.rank == 0 and self._board is not None:
            with contextlib.suppress(Exception):  # who watches must never end a trial
                self._board.update.remote(self._label, dict(update))

    def save(self, name: str, write: Writer) -> str:
        """See `WorkerContext.save`.

        Not through Ray Train: its upload would fail on one worker alone and leave the others waiting.
        """
        return self._place.save(name, write, self)

    def restored(self) -> AbstractContextManager[Path | None]:
        """See `WorkerContext.restored`."""
        return self._place.newest()


class WorkerPool:
    """Workers of a Ray Train run that stay for one piece of work after another.

    Starting them costs more than a small training does. They are let go, and new ones started for the next
    piece, whenever a piece fails, and when none has come for PATIENCE_S seconds.
    """

    def __init__(
        self,
        resources: ResourcesConfig,
        *,
        storage: str,
        board: Any = None,
        keep_checkpoints: int = 1,
        logs: str | None = None,
    ) -> None:
        """`storage` is where checkpoints lie, a folder that all machines share or a URI.

        What a worker and its libraries print goes to a file for each piece of work in the folder `logs`.
        """
        import ray

        self._resources, self._storage, self._logs = resources, storage, logs
        self._options = _WorkerOptions(
            storage=storage,
            keep=keep_checkpoints,
            board=board,
            logs=logs,
            threads=max(1, int(resources.cpus_per_worker)),
            idle_timeout_s=IDLE_TIMEOUT_S,
        )
        here = {ray._raylet.RAY_NODE_ID_KEY: ray.get_runtime_context().get_node_id()}
        self._mailbox = ray.remote(num_cpus=0, label_selector=here)(Mailbox).remote()
        if board is not None:
            board.enlist.remote(self._mailbox)
        self._number = 0
        self._run_now: _WorkerRun | None = None

    def run(self, work: Callable[[RayContext], Any], *, name: str, label: str) -> Any:
        """Have `work` done by all workers; returns rank 0's value.

        `name` is unique in the storage: work of the same name goes on from its newest checkpoint, also after
        its driver was killed. Workers that are lost are replaced and begin it again, at most
        resources.max_failures times; an error that all workers raise does not. Raises TrainingError with the
        worker's own message, which names the file with its output.
        """
        import ray

        self._post(_Task(name, label, [ray.put(work)]))
        try:
            outcome = self._outcome(self._resources.max_failures)
        except Exception as error:
            raise TrainingError(_cause(error) + _where(self._logs, name)) from error
        finally:
            self._number += 1
            if self._options.board is not None:
                self._options.board.forget.remote(label)
        if isinstance(outcome, _Refusal):
            self.close()  # what failed may have left memory or threads behind
            raise TrainingError(outcome.reason + _where(self._logs, name))
        return outcome.value

    def close(self) -> None:
        """Let the workers go."""
        import ray

        ray.get(self._mailbox.post.remote(self._number, None))
        self._number += 1
        self._leave()

    def _leave(self) -> None:
        if self._run_now is not None:
            self._run_now.thread.join()
            self._run_now = None

    def _post(self, task: _Task) -> None:
        import ray

        posted = self._mailbox.post.remote(self._number, task)
        if self._run_now is None:  # the mailbox may still be starting: workers can be called meanwhile
            return
        if not ray.get(posted):  # they have gone home
            self._number += 1
            self._leave()
            self._mailbox.post.remote(self._number, task)

    def _outcome(self, retries: int) -> Any:
        """What comes of the posted work; workers that are lost on the way are replaced `retries` times.

        Always by a new run: Ray Train starts lost workers again by itself, but gives up where one is lost
        while it starts them, or where it puts them on a dead machine that Ray still takes for alive.
        """
        for left in range(retries, -1, -1):
            if self._run_now is None:
                self._run_now = _WorkerRun(self._trainer(), self._mailbox)
            try:
                return self._run_now.wait(self._mailbox.outcome.remote(self._number))
            except Exception as error:
                self._run_now = None
                if not left:
                    raise
                if _lost_a_machine(error):
                    time.sleep(PAUSE_S)
        raise AssertionError("unreachable")

    def _trainer(self) -> Any:
        from ray.train import RunConfig, ScalingConfig

        resources, mailbox, options = self._resources, self._mailbox, self._options
        return _lean_trainer()(
            lambda: _serve(mailbox, options),
            backend_config=torch_group(),
            scaling_config=ScalingConfig(
                num_workers=resources.workers,
                use_gpu=resources.gpus_per_worker > 0,
                resources_per_worker=resources.per_worker,
            ),
            # Ray Train looks here whether all workers see the same storage.
            run_config=RunConfig(name=uuid.uuid4().hex, storage_path=f"{self._storage}/{RUNS}"),
        )


@dataclass(frozen=True, kw_only=True)
class _WorkerOptions:
    """What workers need besides work."""

    storage: str
    keep: int
    board: Any
    logs: str | None
    threads: int
    idle_timeout_s: float


class _WorkerRun:
    """One run of Ray Train, in a thread of its own, from when its workers start until they are let go."""

    def __init__(self, trainer: Any, mailbox: Any) -> None:
        self._error: Exception | None = None
        self.thread = threading.Thread(target=self._run, args=[trainer, mailbox], name="workers", daemon=True)
        self.thread.start()

    def _run(self, trainer: Any, mailbox: Any) -> None:
        mailbox.present.remote(True)
        try:
            trainer.fit()
        except Exception as error:
            self._error = error
        mailbox.present.remote(False)

    def wait(self, outcome: Any) -> Any:
        """The value behind the reference `outcome`, or the error that ended the run before it came."""
        import ray

        while True:
            ended = not self.thread.is_alive()
            if ray.wait([outcome], timeout=0.1)[0]:
                return ray.get(outcome)
            if ended:
                raise self._error or TrainingError("the workers ended without an answer")


def _serve(mailbox: Any, options: _WorkerOptions) -> None:
    """What a worker does: one piece of work after another, until it is told to go."""
    import ray
    import ray.train
    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(options.threads)
    number = ray.get(mailbox.next.remote())
    while (task := ray.get(mailbox.work.remote(number, options.idle_timeout_s))) is not None:
        outcome = _do(task, options)
        if ray.train.get_context().get_world_rank() == 0:
            ray.get(mailbox.deliver.remote(number, outcome))
        number += 1


def _do(task: _Task, options: _WorkerOptions) -> _Done | _Refusal:
    """A worker's part of one piece of work; frees what it held."""
    import ray

    place = Checkpoints(options.storage, task.name, keep=options.keep)
    context = RayContext(place, options.board, task.label)
    try:
        with captured(_log(options.logs, task.name, context.rank)):
            return _Done(ray.get(task.work[0])(context))
    except ApportionError as error:
        if isinstance(error, NonRetryableError) or context.world_size == 1:
            return _Refusal(str(error))
        raise  # the other workers wait for this one: they have to be ended
    finally:
        gc.collect()


def dismiss(board: Any) -> None:
    """Let the workers of all crews on `board` go; returns when those who had nothing to do are gone.

    Without it a cluster that grows keeps their machines for minutes: Ray Train's request for them outlives
    a run that is not brought to its end.
    """
    import ray

    shutdowns = [
        mailbox.dismiss.remote(SHUTDOWN_TIMEOUT_S) for mailbox in ray.get(board.worker_pools.remote())
    ]
    for shutdown in shutdowns:
        with contextlib.suppress(ray.exceptions.RayError):  # of a crew that was lost with its trial
            ray.get(shutdown)


def _lean_trainer() -> Any:
    """Ray's trainer, without the process that would hand out parts of Ray Data sets: a trial has none.

    Not its TorchTrainer: see `trainers.workers.process_group`. The method is internal to Ray; if it is gone,
    that process is started again and nothing else changes.
    """
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    class LeanTrainer(DataParallelTrainer):
        def _create_default_callbacks(self) -> list[Any]:
            callbacks = super()._create_default_callbacks()
            return [callback for callback in callbacks if type(callback).__name__ != "DatasetsCallback"]

    return LeanTrainer


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
