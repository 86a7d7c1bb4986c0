"""What a training visits and when: the order of prompts, and the learning rate at each step."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from trainers.config import TrainerConfig


def batches(count: int, *, size: int, steps: int, seed: int) -> Iterator[list[int]]:
    """Yield `steps` lists of `size` indices into `count` rankings.

    The stream is one seeded permutation after another, so each ranking is visited once before any is
    visited again, and a batch may span two permutations; equal arguments give equal batches anywhere.
    """
    waiting: list[int] = []
    epoch = 0
    for _ in range(steps):
        while len(waiting) < size:
            waiting.extend(np.random.default_rng([seed, epoch]).permutation(count).tolist())
            epoch += 1
        yield waiting[:size]
        del waiting[:size]


def learning_rate_factor(step: int, config: TrainerConfig) -> float:
    """Factor in (0, 1] on the peak learning rate at `step`, 0 <= step < config.steps."""
    warmup = math.ceil(config.warmup_fraction * config.steps)
    if step < warmup:
        return (step + 1) / warmup
    left = (config.steps - step) / (config.steps - warmup) if step < config.steps else 0.0
    match config.schedule:
        case "constant":
            return 1.0
        case "linear":
            return left
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * (1 - left)))
