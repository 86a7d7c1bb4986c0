"""The worker pool: trials run by resident Ray Train workers. The one file that touches Ray Train."""

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
from base.timeline import Timeline
from trainers.config.trainer import ResourcesConfig
from trainers.spec import SeedResult
from trainers.workers.context import Writer
from trainers.workers.mailbox import Mailbox
from trainers.workers.output import captured
from trainers.workers.store import RUNS, Checkpoints

# How long Ray may take to notice that a machine is lost.
LOST_NODE_PAUSE_S = 15.0
# How long a study waits at its end for the workers to exit.
SHUTDOWN_TIMEOUT_S = 15.0
# How long workers wait for another task before they exit and free their resources.
IDLE_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class _Task:
    """`work` is a list with the object reference of a function of the worker's context."""

    name: str
    label: str
    work: list[Any]


@dataclass(frozen=True)
class _Success:
    value: Any


@dataclass(frozen=True)
class _Failure:
    """In place of a value: why the task failed, where a retry would fail too."""

    reason: str


class RayContext:
    """A worker that Ray Train started; progress goes to the study's board, an actor, without waiting."""

    def __init__(
        self, checkpoints: Checkpoints, board: Any, task: _Task, timeline: Timeline | None = None
    ) -> None:
        import ray.train
        import ray.train.torch

        train = ray.train.get_context()
        self.rank, self.world_size = train.get_world_rank(), train.get_world_size()
        self.device = str(ray.train.torch.get_device())
        self._checkpoints, self._board, self._task = checkpoints, board, task
        self._timeline = timeline

    def progress(self, update: Mapping[str, float]) -> None:
        """See `WorkerContext.progress`."""
        if self.rank == 0 and self._board is not None:
            with contextlib.suppress(Exception):  # a display must never end a trial
                self._board.update.remote(self._task.label, dict(update))

    def reach(self, milestone: str) -> None:
        """See `WorkerContext.reach`."""
        if self.rank == 0 and self._timeline is not None:
            self._timeline.reach(milestone, self._task.label)

    def seed_ended(self, result: SeedResult) -> None:
        """See `WorkerContext.seed_ended`."""
        if self.rank == 0 and self._board is not None:
            with contextlib.suppress(Exception):
                self._board.seed_ended.remote(self._task.name, result)

    def save(self, name: str, write: Writer) -> str:
        """See `WorkerContext.save`.

        Not through Ray Train: an upload that fails on one worker would leave the others waiting.
        """
        return self._checkpoints.save(name, write, self)

    def restored(self) -> AbstractContextManager[Path | None]:
        """See `WorkerContext.restored`."""
        return self._checkpoints.newest()


class WorkerPool:
    """Workers of a Ray Train run that stay for one task after another.

    Starting them costs more than a small training does. They exit, and new ones are started for the next
    task, whenever a task fails, and when none has come for IDLE_TIMEOUT_S seconds.
    """

    def __init__(
        self,
        resources: ResourcesConfig,
        *,
        storage: str,
        board: Any = None,
        keep_checkpoints: int = 1,
        logs: str | None = None,
        timeline: Timeline | None = None,
    ) -> None:
        """`storage` is where checkpoints are kept, a folder that all machines share or a URI.

        What a worker and its libraries print goes to one file per task in the folder `logs`, and what the
        first worker has reached to the `timeline`.
        """
        import ray

        self._resources, self._storage, self._logs = resources, storage, logs
        self._options = _WorkerOptions(
            storage=storage,
            keep=keep_checkpoints,
            board=board,
            logs=logs,
            timeline=timeline,
            threads=max(1, int(resources.cpus_per_worker)),
            idle_timeout_s=IDLE_TIMEOUT_S,
        )
        this_node = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        self._mailbox = ray.remote(num_cpus=0, label_selector=this_node)(Mailbox).remote()
        if board is not None:
            board.enlist.remote(self._mailbox)
        self._number = 0
        self._current: _WorkerRun | None = None

    def run(self, work: Callable[[RayContext], Any], *, name: str, label: str) -> Any:
        """Run `work` on all workers; returns rank 0's value.

        `name` is unique in the storage: work of the same name resumes from its newest checkpoint, also after
        its driver was killed. Workers that are lost are replaced and start it again, at most
        resources.max_failures times; an error that all workers raise is not retried. Raises TrainingError
        with the worker's own message, which names the file with its output.
        """
        import ray

        self._post(_Task(name, label, [ray.put(work)]))
        try:
            outcome = self._outcome(self._resources.max_failures)
        except Exception as error:
            raise TrainingError(_cause(error) + _output_note(self._logs, name)) from error
        finally:
            self._number += 1
            if self._options.board is not None:
                self._options.board.forget.remote(label)
        if isinstance(outcome, _Failure):
            self.close()  # a failed task may have left memory or threads behind
            raise TrainingError(outcome.reason + _output_note(self._logs, name))
        return outcome.value

    def close(self) -> None:
        """End the workers."""
        import ray

        ray.get(self._mailbox.post.remote(self._number, None))
        self._number += 1
        self._join()

    def _join(self) -> None:
        if self._current is not None:
            self._current.thread.join()
            self._current = None

    def _post(self, task: _Task) -> None:
        import ray

        posted = self._mailbox.post.remote(self._number, task)
        if self._current is None:  # the mailbox may still be starting: start the workers meanwhile
            return
        if not ray.get(posted):  # the workers have exited
            self._number += 1
            self._join()
            self._mailbox.post.remote(self._number, task)

    def _outcome(self, retries: int) -> Any:
        """The outcome of the posted task; workers that are lost meanwhile are replaced `retries` times.

        Always by a new run: Ray Train restarts lost workers by itself, but gives up where one is lost
        while it starts them, or where it puts them on a dead machine that Ray has not noticed yet.
        """
        for left in range(retries, -1, -1):
            if self._current is None:
                self._current = _WorkerRun(self._trainer(), self._mailbox)
            try:
                return self._current.wait(self._mailbox.outcome.remote(self._number))
            except Exception as error:
                self._current = None
                if not left:
                    raise
                if _lost_a_machine(error):
                    time.sleep(LOST_NODE_PAUSE_S)
        raise AssertionError("unreachable")

    def _trainer(self) -> Any:
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        resources, mailbox, options = self._resources, self._mailbox, self._options
        return TorchTrainer(
            lambda: _serve(mailbox, options),
            scaling_config=ScalingConfig(
                num_workers=resources.workers,
                use_gpu=resources.gpus_per_worker > 0,
                resources_per_worker=resources.per_worker,
            ),
            # Ray Train checks here that all workers see the same storage.
            run_config=RunConfig(name=uuid.uuid4().hex, storage_path=f"{self._storage}/{RUNS}"),
        )


@dataclass(frozen=True, kw_only=True)
class _WorkerOptions:
    """What workers need besides tasks."""

    storage: str
    keep: int
    board: Any
    logs: str | None
    timeline: Timeline | None
    threads: int
    idle_timeout_s: float


class _WorkerRun:
    """One run of Ray Train, in a thread of its own, from the start of its workers until they exit."""

    def __init__(self, trainer: Any, mailbox: Any) -> None:
        self._error: Exception | None = None
        self.thread = threading.Thread(target=self._run, args=[trainer, mailbox], name="workers", daemon=True)
        self.thread.start()

    def _run(self, trainer: Any, mailbox: Any) -> None:
        mailbox.set_running.remote(True)
        try:
            trainer.fit()
        except Exception as error:
            self._error = error
        mailbox.set_running.remote(False)

    def wait(self, outcome: Any) -> Any:
        """The value behind the reference `outcome`, or the error that ended the run before it came."""
        import ray

        while True:
            ended = not self.thread.is_alive()
            if ray.wait([outcome], timeout=0.1)[0]:
                return ray.get(outcome)
            if ended:
                raise self._error or TrainingError("the workers exited without a result")


def _serve(mailbox: Any, options: _WorkerOptions) -> None:
    """A worker's main loop: one task after another, until the mailbox has no more."""
    import ray
    import ray.train
    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(options.threads)
    number = ray.get(mailbox.first.remote())
    while (task := ray.get(mailbox.task.remote(number, options.idle_timeout_s))) is not None:
        outcome = _perform(task, options)
        if ray.train.get_context().get_world_rank() == 0:
            ray.get(mailbox.deliver.remote(number, outcome))
        number += 1


def _perform(task: _Task, options: _WorkerOptions) -> _Success | _Failure:
    """A worker's part of one task; frees what it held."""
    import ray

    checkpoints = Checkpoints(options.storage, task.name, keep=options.keep)
    context = RayContext(checkpoints, options.board, task, options.timeline)
    context.reach("worker up")
    try:
        with captured(_log(options.logs, task.name, context.rank)):
            return _Success(ray.get(task.work[0])(context))
    except ApportionError as error:
        if isinstance(error, NonRetryableError) or context.world_size == 1:
            return _Failure(str(error))
        raise  # the other workers wait for this one: the run has to end
    finally:
        gc.collect()


def stop_workers(board: Any) -> None:
    """End the workers of all pools on `board`; returns when those without a task have exited.

    Otherwise a cluster that grows on demand keeps their machines for minutes: Ray Train's request for them
    outlives a run that does not end in order.
    """
    import ray

    stopping = [mailbox.stop.remote(SHUTDOWN_TIMEOUT_S) for mailbox in ray.get(board.worker_pools.remote())]
    for stopped in stopping:
        with contextlib.suppress(ray.exceptions.RayError):  # of a pool that was lost with its trial
            ray.get(stopped)


def _lost_a_machine(error: Exception) -> bool:
    """Whether a worker was lost with its machine, and not through its own work."""
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


def _output_note(logs: str | None, name: str) -> str:
    path = _log(logs, name, 0)
    return f" (its output: {path})" if path and path.exists() else ""


def _cause(error: BaseException) -> str:
    """Why the first worker failed: the last line of its traceback, or a likely cause where it has none."""
    failures = getattr(error, "worker_failures", None) or {0: error}
    rank, failure = next(iter(failures.items()))
    if (lost := getattr(failure, "health_check_failure", None)) is not None:
        return (
            f"worker {rank} exited without an error message ({type(lost).__name__}): most often its node ran "
            "out of memory or was preempted"
        )
    lines = str(failure).strip().splitlines() or [repr(error)]
    return lines[-1]
