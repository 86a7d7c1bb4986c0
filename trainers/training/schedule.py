"""The order in which a training visits prompts, and the learning rate at each step."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Protocol

import numpy as np

from trainers.config.trainer import TrainerConfig


class _Sized(Protocol):
    @property
    def tokens(self) -> int: ...


def total_steps(config: TrainerConfig, rankings: Sequence[_Sized]) -> int:
    """Optimiser steps of a training on `rankings` (as the algorithm prepared them, at least one).

    Matching epochs: the fewest steps that visit each ranking `epochs` times. Matching tokens: the fewest
    whose expected tokens, steps x batch_prompts x mean tokens of a ranking, reach `tokens`. The result does
    not depend on seed or workers.
    """
    if config.matching == "steps":
        return config.steps
    if config.matching == "epochs":
        visits = Fraction(str(config.epochs)) * len(rankings)
    else:
        visits = Fraction(config.tokens or 0) * len(rankings) / sum(ranking.tokens for ranking in rankings)
    return math.ceil(visits / config.batch_prompts)


def averaged_steps(config: TrainerConfig, steps: int) -> int:
    """How many of a training's `steps`, the last ones, have their weights averaged: ceil(share x steps)."""
    return math.ceil(Fraction(str(config.average_tail)) * steps)


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


def learning_rate_factor(step: int, config: TrainerConfig, steps: int) -> float:
    """Factor in (0, 1] on the peak learning rate at `step` of a training of `steps`, 0 <= step < steps."""
    warmup = math.ceil(config.warmup_fraction * steps)
    if step < warmup:
        return (step + 1) / warmup
    left = (steps - step) / (steps - warmup) if step < steps else 0.0
    match config.schedule:
        case "constant":
            return 1.0
        case "linear":
            return left
        case "cosine":
            return 0.5 * (1 + math.cos(math.pi * (1 - left)))
