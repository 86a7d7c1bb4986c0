"""The training loop: steps over packed micro-batches whose cut does not change the gradient."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pools.errors import TrainingError
from trainers.algorithms.base import Algorithm
from trainers.batching import Batch, Ranking, collate, pack
from trainers.config import TrainerConfig
from trainers.context import WorkerContext
from trainers.schedule import batches, total_steps


@dataclass
class Training:
    """What a training did. `history` has a row for each logged step; `tokens` counts this worker's alone."""

    history: list[dict[str, float]] = field(default_factory=list)
    tokens: int = 0
    seconds: float = 0.0


def micro_batches(
    chosen: Sequence[Ranking], config: TrainerConfig, context: WorkerContext
) -> list[tuple[Batch, float]]:
    """This worker's micro-batches of one step, each with the weight of its loss (1, or 0 for a filler).

    Rank r takes every world_size-th ranking from r on. Under ZeRO-3 each forward is a collective, so all
    workers must make equally many: those with fewer repeat their last one with weight 0.
    """
    cuts = [
        pack(chosen[rank :: context.world_size], config.micro_batch_tokens)
        for rank in range(context.world_size)
    ]
    mine = chosen[context.rank :: context.world_size]
    groups = [(collate([mine[i] for i in group]), 1.0) for group in cuts[context.rank]]
    fillers = max(map(len, cuts)) - len(groups)
    return groups + [(groups[-1][0], 0.0)] * fillers


def train(
    engine: Any,
    rankings: Sequence[Ranking],
    algorithm: Algorithm,
    config: TrainerConfig,
    *,
    seed: int,
    context: WorkerContext,
) -> Training:
    """Train for `total_steps` optimiser steps on `rankings`; equal seeds visit prompts in equal order.

    Raises TrainingError at the first loss that is not finite, naming the step and the prompts.
    """
    training, started = Training(), time.perf_counter()
    steps = total_steps(config, rankings)
    log_every = max(1, steps // 50)
    order = batches(len(rankings), size=config.batch_prompts, steps=steps, seed=seed)
    for step, indices in enumerate(order, start=1):
        parts, tokens = _step(engine, [rankings[i] for i in indices], algorithm, config, context)
        if not math.isfinite(parts["loss"]):
            raise TrainingError(f"loss is {parts['loss']} at step {step} of {steps}, on prompts {indices}")
        training.tokens += tokens
        training.seconds = time.perf_counter() - started
        if step % log_every == 0 or step in (1, steps):
            row = {"step": float(step), **parts, "tokens_per_second": training.tokens / training.seconds}
            training.history.append(row)
            context.progress({**row, "seed": float(seed), "steps": float(steps)})
    return training


def _step(
    engine: Any,
    chosen: Sequence[Ranking],
    algorithm: Algorithm,
    config: TrainerConfig,
    context: WorkerContext,
) -> tuple[dict[str, float], int]:
    """One optimiser step. Each loss is a sum over rankings, divided here by the step's whole count.

    DeepSpeed averages gradients over workers, hence the factor world_size.
    """
    work = micro_batches(chosen, config, context)
    scale = context.world_size / len(chosen)
    parts: dict[str, float] = {"loss": 0.0}
    tokens = 0
    for number, (batch, weight) in enumerate(work, start=1):
        batch = batch.to(context.device)
        engine.set_gradient_accumulation_boundary(number == len(work))
        out = algorithm.loss(engine(batch), batch)
        engine.backward(out.total * (scale * weight))
        parts["loss"] += weight * float(out.total.detach()) * scale
        for name, value in out.parts.items():
            parts[name] = parts.get(name, 0.0) + weight * value * scale
        tokens += int(weight) * batch.tokens
    learning_rate = engine.get_lr()[0]
    engine.step()
    parts["learning_rate"] = learning_rate
    if (norm := engine.get_global_grad_norm()) is not None:  # ZeRO-0 in fp32 keeps none
        parts["grad_norm"] = float(norm)
    return parts, tokens
