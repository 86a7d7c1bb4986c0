"""What DeepSpeed's engine costs on one process, against the same step in plain torch.

    python -m benchmarks.engine_overhead [--quick] [--tokens 512 4096] [--rounds 3] [--model NAME]

The baseline keeps what a careful loop keeps: bf16 weights with float32 masters, gradients clipped by their
norm, torch's fused AdamW on the masters. The engine is `trainers.engine.build_engine` at ZeRO 0 and 1. All
encode the same batch by the same shared-prefix policy under the same loss, from the same weights; one step of
each to warm up, then rounds in turn in one process. Figures are medians in CPU seconds of the process: with
one thread, wall time less what other programs took.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from benchmarks.train_step import hh_rankings
from trainers.algorithms.registry import make_algorithm
from trainers.config.algorithm import AlgorithmConfig
from trainers.config.trainer import TrainerConfig
from trainers.models import load_policy, resolve_model
from trainers.policy.batching import Batch, collate
from trainers.policy.policy import Policy
from trainers.training.engine import build_engine

ALGORITHM = make_algorithm(AlgorithmConfig(name="pro"))
Step = Callable[[Batch], float]


def plain_step(policy: Policy, config: TrainerConfig) -> Step:
    """A step of the baseline, as a function of the batch that returns the loss."""
    weights = list(policy.parameters())
    masters = [torch.nn.Parameter(weight.detach().float()) for weight in weights]
    optimizer = torch.optim.AdamW(masters, lr=config.learning_rate, weight_decay=0.0, fused=True)

    def step(batch: Batch) -> float:
        loss = ALGORITHM.loss(policy(batch), batch).total / batch.rankings
        loss.backward()
        for master, weight in zip(masters, weights, strict=True):
            assert weight.grad is not None
            master.grad, weight.grad = weight.grad.float(), None
        torch.nn.utils.clip_grad_norm_(masters, config.grad_clip)
        optimizer.step()
        with torch.no_grad():
            for master, weight in zip(masters, weights, strict=True):
                weight.copy_(master)
        return float(loss.detach())

    return step


def engine_step(policy: Policy, config: TrainerConfig) -> Step:
    """A step of the engine, as the training loop takes it."""
    engine = build_engine(policy, config, config.steps)

    def step(batch: Batch) -> float:
        engine.set_gradient_accumulation_boundary(True)
        loss = ALGORITHM.loss(engine(batch), batch).total / batch.rankings
        engine.backward(loss)
        engine.step()
        return float(loss.detach())

    return step


def batch_of(tokens: int) -> Batch:
    """HH-shaped rankings of four responses, as many as make up about `tokens` unique tokens."""
    rankings = hh_rankings(None, None, prompts=max(1, tokens // 200), k=4, seed=1)
    chosen = [rankings[0]]
    while collate(chosen).tokens < 0.9 * tokens and len(chosen) < len(rankings):
        chosen.append(rankings[len(chosen)])
    return collate(chosen)


def measure(variants: dict[str, Step], batch: Batch, rounds: int) -> dict[str, Any]:
    """Median seconds of a step of each variant, rounds interleaved, and their ratios to the baseline."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    losses: dict[str, float] = {}
    for _ in range(rounds + 1):
        for name, step in variants.items():
            started = time.process_time()
            losses[name] = step(batch)
            seconds[name].append(time.process_time() - started)
    medians = {name: statistics.median(values[1:]) for name, values in seconds.items()}
    return {
        "tokens": batch.tokens,
        "seconds": {name: round(value, 3) for name, value in medians.items()},
        "ratio": {name: round(value / medians["plain"], 3) for name, value in medians.items()},
        "last_loss": {name: round(value, 4) for name, value in losses.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one round of 512 tokens")
    parser.add_argument("--tokens", type=int, nargs="+", default=[512, 4096], help="unique tokens of a step")
    parser.add_argument("--stages", type=int, nargs="+", default=[0, 1], help="ZeRO stages")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="embedded:smollm2-135m")
    parser.add_argument("--dtype", default="bf16", choices=["bf16", "fp32"])
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    os.environ.setdefault("LOCAL_RANK", "0")
    store = Path(tempfile.mkdtemp()) / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    path = resolve_model(args.model)

    def policy() -> Policy:
        return Policy(load_policy(path, dtype=args.dtype).train())

    base = TrainerConfig(learning_rate=1e-6, schedule="constant", warmup_fraction=0.0, dtype=args.dtype)
    variants = {"plain": plain_step(policy(), base)}
    for stage in args.stages:
        config = base.model_copy(update={"zero_stage": stage})
        variants[f"zero{stage}"] = engine_step(policy(), config)
    results = {}
    for tokens in [512] if args.quick else args.tokens:
        results[str(tokens)] = measure(variants, batch_of(tokens), 1 if args.quick else args.rounds)
        print(tokens, json.dumps(results[str(tokens)]), flush=True)
    print(
        json.dumps(
            {"benchmark": "engine_overhead", "baseline": "plain torch", "dtype": args.dtype, **results}
        )
    )
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
