"""What a checkpoint of a trial holds, when one is written, and how a trial goes on from it."""

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
from trainers.training.best import Best
from trainers.training.loop import Training
from trainers.workers.context import WorkerContext

STATE, ENGINE = "trial.json", "engine"
_log = logging.getLogger(__name__)


class Keeper:
    """Writes a trial's checkpoints, and knows what an earlier run of the same trial has left.

    A checkpoint holds the results of finished seeds and, for the seed in training, DeepSpeed's engine
    (weights, optimiser, schedule), the best policy so far, the random states and all of `Training`. One
    that cannot be written is told of once and costs the trial nothing but safety.
    """

    def __init__(self, config: CheckpointConfig, context: WorkerContext) -> None:
        self._config, self._context = config, context
        self._stack = ExitStack()
        self._since = 0  # steps that no checkpoint holds yet
        self._steps = 0  # steps of the whole trial, which name a checkpoint
        self.results: list[SeedResult] = []
        self.last: str | None = None
        self.trouble: str | None = None
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
            # Shards are cut for a number of workers: the seed in training starts again, finished ones stay.
            self._state["seed"] = None

    def resume(self, seed: int, engine: Any, best: Best) -> Training:
        """Bring `engine`, `best` and the random states to where the checkpoint of `seed` left them.

        Returns how far the training is: new, where the checkpoint is of another seed or there is none.
        """
        training = Training()
        if self._folder is not None and self._state["seed"] == seed:
            engine.load_checkpoint(
                str(self._folder), tag=ENGINE, load_module_strict=not _partly_frozen(engine)
            )
            own = torch.load(self._own(self._folder), weights_only=False)
            best.reward, best.step, best.weights = own["best"]
            set_random_states(own["random"])
            training = Training(**self._state["training"])
        self._stack.close()  # a copy from an object store is needed no longer
        self._folder = None
        return training

    def after_step(self, seed: int, engine: Any, training: Training, best: Best, *, last: bool) -> None:
        """Count a step; write a checkpoint if one is due. The `last` step's result is near: it needs none."""
        self._since += 1
        self._steps += 1
        if self._config.every and self._since >= self._config.every and not last:
            self._save(seed, engine, training, best)

    def finished(self, result: SeedResult, *, more: bool) -> None:
        """Keep a seed's result; if `more` seeds follow and a checkpoint is due, it holds results alone."""
        self.results.append(result)
        if more and self._config.every and self._since >= self._config.every:
            self._save(None, None, None, Best())

    def take_seconds(self) -> float:
        """Seconds spent on writing checkpoints since this was last asked."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _save(self, seed: int | None, engine: Any, training: Training | None, best: Best) -> None:
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
                torch.save(
                    {"best": (best.reward, best.step, best.weights), "random": random_states()},
                    self._own(folder),
                )
            if self._context.rank == 0:
                (folder / STATE).write_text(json.dumps(state))

        started = time.perf_counter()
        self._since = 0  # where it fails, the next attempt is a whole interval away
        try:
            self.last = self._context.save(f"step{self._steps:08d}", write)
        except CheckpointError as error:
            if self.trouble is None:
                _log.warning("no checkpoint could be kept: %s", error)
            self.trouble = str(error)
        self._seconds += time.perf_counter() - started

    def _own(self, folder: Path) -> Path:
        return folder / f"worker{self._context.rank}.pt"


def save_engine(engine: Any, folder: Path) -> None:
    """DeepSpeed's checkpoint of `engine` under `folder`: a collective, also where one worker cannot write.

    Weights that are not trained, under LoRA nearly all of them, are left out. DeepSpeed ends with a barrier,
    so an error on the way there would leave the other workers waiting in it.
    """
    failures: list[Exception] = []
    with _patient(engine.checkpoint_engine, "save", failures), _patient(engine, "_copy_recovery_script", []):
        engine.save_checkpoint(
            str(folder), tag=ENGINE, save_latest=False, exclude_frozen_parameters=_partly_frozen(engine)
        )
    if failures:
        raise failures[0]


def _partly_frozen(engine: Any) -> bool:
    return any(not parameter.requires_grad for parameter in engine.module.parameters())


@contextmanager
def _patient(owner: Any, name: str, failures: list[Exception]) -> Iterator[None]:
    """Within the block, `owner.name` notes what the disk refuses instead of raising it."""
    act = getattr(owner, name)

    def patient(*args: Any, **options: Any) -> None:
        try:
            act(*args, **options)
        except (OSError, RuntimeError) as error:
            failures.append(error)

    setattr(owner, name, patient)
    try:
        yield
    finally:
        delattr(owner, name)


def random_states() -> dict[str, Any]:
    """The states of all generators that a training may draw from."""
    states = {"torch": torch.get_rng_state(), "numpy": np.random.get_state(), "python": random.getstate()}
    return states | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def set_random_states(states: dict[str, Any]) -> None:
    """Bring the generators to where `random_states` found them."""
    torch.set_rng_state(states["torch"])
    np.random.set_state(states["numpy"])
    random.setstate(states["python"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
