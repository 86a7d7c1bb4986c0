"""The training loop: steps over packed micro-batches whose boundaries do not change the gradient."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from base.errors import NonRetryableError
from trainers.algorithms.base import Algorithm
from trainers.config.trainer import TrainerConfig
from trainers.policy.batching import Batch, Ranking, collate, pack
from trainers.training.schedule import batches, total_steps
from trainers.training.telemetry import PHASES, Stopwatch, padded_tokens, peak_memory
from trainers.workers.context import WorkerContext


@dataclass
class Training:
    """How far a training is: steps done, and over all workers tokens encoded, padding and padded size.

    `history` has a row for each logged step; `seconds` by phase are this worker's. Plain data, so that it
    fits into a checkpoint.
    """

    step: int = 0
    tokens: int = 0
    padding: int = 0
    padded: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def train_seconds(self) -> float:
        """Seconds in all phases of training, evaluation left out."""
        return sum(self.seconds.get(phase, 0.0) for phase in PHASES)

    def record(self, values: dict[str, float]) -> dict[str, float]:
        """Write `values` into the history's row of this step; returns the row."""
        if not self.history or self.history[-1]["step"] != self.step:
            self.history.append({"step": float(self.step)})
        self.history[-1] |= values
        return self.history[-1]

    def add_seconds(self, seconds: dict[str, float]) -> None:
        """Add to the seconds of each phase."""
        for phase, added in seconds.items():
            self.seconds[phase] = self.seconds.get(phase, 0.0) + added

    def telemetry(self) -> dict[str, float]:
        """Totals: seconds by phase, tokens a second, share of padding."""
        return {
            **{f"seconds_{phase}": seconds for phase, seconds in self.seconds.items()},
            "tokens_per_second": self.tokens / max(self.train_seconds, 1e-9),
            "padding": self.padding / max(self.padded, 1),
        }


def micro_batches(
    chosen: Sequence[Ranking], config: TrainerConfig, context: WorkerContext
) -> list[tuple[Batch, float]]:
    """This worker's micro-batches of one step, each with the weight of its loss (1, or 0 for a filler).

    Rank r takes every world_size-th ranking from r on. Under ZeRO-3 each forward is a collective, so all
    workers must make equally many: those with fewer repeat their last one with weight 0.
    """
    packed = [
        pack(chosen[rank :: context.world_size], config.micro_batch_tokens)
        for rank in range(context.world_size)
    ]
    mine = chosen[context.rank :: context.world_size]
    groups = [(collate([mine[i] for i in group]), 1.0) for group in packed[context.rank]]
    fillers = max(map(len, packed)) - len(groups)
    return groups + [(groups[-1][0], 0.0)] * fillers


def train(
    engine: Any,
    rankings: Sequence[Ranking],
    algorithm: Algorithm,
    config: TrainerConfig,
    *,
    seed: int,
    context: WorkerContext,
    training: Training | None = None,
    after_step: Callable[[Training], None] | None = None,
) -> Training:
    """Train for `total_steps` optimiser steps on `rankings`; equal seeds visit prompts in equal order.

    Continues after `training.step`, the step that the engine must be at too. `after_step` is called on every
    worker once a step is taken and recorded; its time does not count as the training's. Raises
    NonRetryableError on all workers at the first loss or gradient that is not finite, naming the step and the
    prompts.
    """
    training, watch = training or Training(), Stopwatch(context.device)
    steps = total_steps(config, rankings)
    log_every, logged = max(1, steps // 50), training.step
    order = batches(len(rankings), size=config.batch_prompts, steps=steps, seed=seed)
    for indices in islice(order, training.step, None):
        watch.start()
        training.step += 1
        context.reach("first training step begins")
        chosen = [rankings[i] for i in indices]
        values = _step(engine, chosen, algorithm, config, context, training, watch)
        context.reach("first training step done")
        _check_finite(values, training.step, steps, chosen, config)
        if training.step % log_every == 0 or training.step in (1, steps):
            spent = watch.read()
            training.add_seconds(spent)
            row = training.record(values | _costs(training, spent, training.step - logged, context))
            logged = training.step
            context.progress({**row, "seed": float(seed), "steps": float(steps)})
        if after_step is not None:
            after_step(training)
    return training


def _costs(
    training: Training, spent: dict[str, float], steps: int, context: WorkerContext
) -> dict[str, float]:
    """The cost of the last `steps`: mean seconds of a step by phase, and the totals so far."""
    seconds = {f"seconds_{phase}": value / steps for phase, value in spent.items()}
    totals = training.telemetry()
    return seconds | {
        "tokens_per_second": totals["tokens_per_second"],
        "padding": totals["padding"],
        "peak_memory_gib": peak_memory(context.device),
    }


def _check_finite(
    values: dict[str, float], step: int, steps: int, chosen: Sequence[Ranking], config: TrainerConfig
) -> None:
    """Raise where training has diverged: on all workers, as loss and norm are sums over all of them.

    Under fp16 a gradient may overflow: DeepSpeed skips the step and lowers its loss scale.
    """
    norm = values.get("grad_norm", 0.0) if config.dtype != "fp16" else 0.0
    for name, value in (("loss", values["loss"]), ("norm of the gradient", norm)):
        if not math.isfinite(value):
            keys = ", ".join(ranking.key[:12] for ranking in chosen)
            raise NonRetryableError(f"{name} is {value} at step {step} of {steps}, on the prompts {keys}")


def _step(
    engine: Any,
    chosen: Sequence[Ranking],
    algorithm: Algorithm,
    config: TrainerConfig,
    context: WorkerContext,
    training: Training,
    watch: Stopwatch,
) -> dict[str, float]:
    """One optimiser step. Each loss is a sum over rankings, divided here by the step's whole count.

    DeepSpeed averages gradients over workers, hence the factor world_size. Returns losses and counts of
    all workers.
    """
    work = micro_batches(chosen, config, context)
    scale = context.world_size / len(chosen)
    plain = getattr(engine.module, "path", None) == "plain"
    sums: dict[str, float] = defaultdict(float)
    for number, (batch, weight) in enumerate(work, start=1):
        batch = batch.to(context.device)
        engine.set_gradient_accumulation_boundary(number == len(work))
        watch.lap("data")
        out = algorithm.loss(engine(batch), batch)
        watch.lap("forward")
        engine.backward(out.total * (scale * weight))
        watch.lap("backward")
        _count(sums, batch, weight, plain)
        for name, value in {"loss": float(out.total.detach()), **out.parts}.items():
            sums[name] += weight * value / len(chosen)
    learning_rate = engine.get_lr()[0]
    engine.step()
    watch.lap("step")
    sums = _over_workers(sums, context)
    for name in ("tokens", "padding", "padded"):
        setattr(training, name, getattr(training, name) + round(sums.pop(name)))
    sums["learning_rate"] = learning_rate
    if (norm := engine.get_global_grad_norm()) is not None:  # ZeRO-0 in fp32 keeps none
        sums["grad_norm"] = float(norm)
    return sums


def _count(sums: dict[str, float], batch: Batch, weight: float, plain: bool) -> None:
    padding, padded = padded_tokens(batch) if plain else (0, batch.tokens)
    for name, value in (("tokens", batch.tokens), ("padding", padding), ("padded", padded)):
        sums[name] += weight * value


def _over_workers(sums: dict[str, float], context: WorkerContext) -> dict[str, float]:
    """The sums over all workers: one small collective, which also shows a bad loss to all of them."""
    if context.world_size == 1:
        return dict(sums)
    import torch
    import torch.distributed as dist

    names = sorted(sums)
    values = torch.tensor([sums[name] for name in names], dtype=torch.float64, device=context.device)
    dist.all_reduce(values)
    return dict(zip(names, values.tolist(), strict=True))
