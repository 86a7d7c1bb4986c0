"""What a checkpoint of a trial holds, when one is written, and how a trial resumes from it."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from base.errors import CheckpointError
from trainers.config.trainer import CheckpointConfig
from trainers.spec import SeedResult
from trainers.training.average import TailAverage
from trainers.training.best import BestPolicy
from trainers.training.loop import Training
from trainers.workers.context import WorkerContext

STATE, ENGINE = "trial.json", "engine"
_log = logging.getLogger(__name__)


class Checkpointer:
    """Writes a trial's checkpoints, and reads the one that an earlier run of the same trial left.

    A checkpoint holds the results of finished seeds and, for the seed in training, DeepSpeed's engine
    (weights, optimiser, schedule), the best policy and the mean of the weights so far, the random states and
    all of `Training`. A checkpoint that cannot be written is logged once, and the trial continues.
    """

    def __init__(self, config: CheckpointConfig, context: WorkerContext) -> None:
        self._config, self._context = config, context
        self._stack = ExitStack()
        self._unsaved = 0  # steps since the last checkpoint
        self._steps = 0  # of all seeds: a checkpoint is named by them
        self.results: list[SeedResult] = []
        self.last: str | None = None
        self.error: str | None = None
        self._seconds = 0.0
        self._state: dict[str, Any] = {}
        self._folder = self._stack.enter_context(context.restored())
        if self._folder is not None:
            self._read(self._folder)

    def _read(self, folder: Path) -> None:
        self._state = json.loads((folder / STATE).read_text())
        self.results = [SeedResult.from_dict(row) for row in self._state["results"]]
        self._steps, self.last = self._state["steps"], str(folder)
        if self._state["world_size"] != self._context.world_size:
            # Shards belong to a number of workers: the seed in training starts again, finished ones stay.
            self._state["seed"] = None

    def resume(self, seed: int, engine: Any, best: BestPolicy, average: TailAverage) -> Training:
        """Load `engine`, `best`, `average` and the random states from the checkpoint of `seed`.

        Returns how far the training is: at its start where there is no checkpoint of that seed.
        """
        training = Training()
        if self._folder is not None and self._state["seed"] == seed:
            engine.load_checkpoint(
                str(self._folder), tag=ENGINE, load_module_strict=not _partly_frozen(engine)
            )
            saved = torch.load(self._rank_file(self._folder), weights_only=False, map_location="cpu")
            best.reward, best.step, best.weights = saved["best"]
            average.steps, average.mean = saved.get("average", (0, {}))  # of before there were any
            set_random_states(saved["random"])
            training = Training(**self._state["training"])
        self._stack.close()  # deletes a copy from an object store
        self._folder = None
        return training

    def after_step(
        self,
        seed: int,
        engine: Any,
        training: Training,
        best: BestPolicy,
        average: TailAverage,
        *,
        last: bool,
    ) -> None:
        """Count a step; write a checkpoint if one is due, except at the `last` step, whose result follows."""
        self._unsaved += 1
        self._steps += 1
        if self._config.every and self._unsaved >= self._config.every and not last:
            weights = {
                "best": (best.reward, best.step, best.weights),
                "average": (average.steps, average.mean),
            }
            self._save(seed, engine, training, weights)

    def add_result(self, result: SeedResult, *, more: bool) -> None:
        """Add a finished seed; if `more` seeds follow, write a checkpoint of results only, which is small."""
        self.results.append(result)
        if more and self._config.every:
            self._save(None, None, None, {})

    def take_seconds(self) -> float:
        """Seconds spent on writing checkpoints since the last call."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _save(
        self, seed: int | None, engine: Any, training: Training | None, weights: dict[str, Any]
    ) -> None:
        state = {
            "world_size": self._context.world_size,
            "steps": self._steps,
            "results": [asdict(result) for result in self.results],
            "seed": seed,
            "training": asdict(training) if training else None,
        }

        def write(folder: Path) -> None:
            if engine is not None:
                save_engine(engine, folder)
                torch.save({**weights, "random": random_states()}, self._rank_file(folder))
            if self._context.rank == 0:
                (folder / STATE).write_text(json.dumps(state))

        started = time.perf_counter()
        self._unsaved = 0  # also where it fails: the next attempt is an interval away
        try:
            self.last = self._context.save(f"step{self._steps:08d}", write)
        except CheckpointError as error:
            if self.error is None:
                _log.warning("no checkpoint could be written: %s", error)
            self.error = str(error)
        self._seconds += time.perf_counter() - started

    def _rank_file(self, folder: Path) -> Path:
        return folder / f"worker{self._context.rank}.pt"


def save_engine(engine: Any, folder: Path) -> None:
    """DeepSpeed's checkpoint of `engine` under `folder`: a collective, also where one worker cannot write.

    Weights that are not trained, under LoRA nearly all of them, are left out. DeepSpeed ends with a barrier:
    an error before it would leave the other workers waiting there, so it is raised afterwards.
    """
    failures: list[Exception] = []
    with (
        _deferred(engine.checkpoint_engine, "save", failures),
        _deferred(engine, "_copy_recovery_script", []),
    ):
        engine.save_checkpoint(
            str(folder), tag=ENGINE, save_latest=False, exclude_frozen_parameters=_partly_frozen(engine)
        )
    if failures:
        raise failures[0]


def _partly_frozen(engine: Any) -> bool:
    return any(not parameter.requires_grad for parameter in engine.module.parameters())


@contextmanager
def _deferred(owner: Any, name: str, failures: list[Exception]) -> Iterator[None]:
    """Within the block, `owner.name` appends errors of the disk to `failures` instead of raising them."""
    method = getattr(owner, name)

    def deferring(*args: Any, **options: Any) -> None:
        try:
            method(*args, **options)
        except (OSError, RuntimeError) as error:
            failures.append(error)

    setattr(owner, name, deferring)
    try:
        yield
    finally:
        delattr(owner, name)


def random_states() -> dict[str, Any]:
    """The states of all generators that a training may draw from."""
    states = {"torch": torch.get_rng_state(), "numpy": np.random.get_state(), "python": random.getstate()}
    return states | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def set_random_states(states: dict[str, Any]) -> None:
    """Restore the states that `random_states` returned."""
    torch.set_rng_state(states["torch"])
    np.random.set_state(states["numpy"])
    random.setstate(states["python"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
