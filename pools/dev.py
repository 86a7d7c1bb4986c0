"""Held-out prompts that may choose a checkpoint, apart from those that test it."""

from __future__ import annotations

from dataclasses import replace

from pools.errors import PoolError
from pools.subset import order
from pools.types import Pool, Prompt


def set_apart(pool: Pool, prompts: int, *, seed: int) -> tuple[Pool, tuple[Prompt, ...]]:
    """The pool without `prompts` of its held-out prompts, and those: the first of their seeded order.

    Equal arguments set the same prompts apart anywhere. Raises PoolError where no test prompt would be left.
    """
    if prompts and prompts >= len(pool.held_out):
        raise PoolError(
            f"evaluation.dev_prompts is {prompts}, but the pool has {len(pool.held_out)} held-out prompts, "
            "and some of them must be left for the test: lower it, or raise pool.held_out_prompts"
        )
    chosen = set(order(pool.held_out, seed)[:prompts])
    test = tuple(example for index, example in enumerate(pool.held_out) if index not in chosen)
    return replace(pool, held_out=test), tuple(pool.held_out[index].prompt for index in sorted(chosen))
