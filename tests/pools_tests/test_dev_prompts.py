"""Prompts that choose checkpoints never test them."""

from __future__ import annotations

import pytest

from base.errors import PoolError
from pools.subset import set_apart
from pools.types import Example, MemoryExamples, Pool, Prompt, Response

HELD_OUT = tuple(Example(Prompt(f"question {i}"), (Response("a", 1.0),)) for i in range(10))
POOL = Pool("p", MemoryExamples(), HELD_OUT)


def test_dev_and_test_prompts_are_apart_and_whole() -> None:
    rest, dev = set_apart(POOL, 4, seed=1)
    assert len(dev) == 4 and len(rest.held_out) == 6
    assert {*dev, *(example.prompt for example in rest.held_out)} == {example.prompt for example in HELD_OUT}
    assert set_apart(POOL, 4, seed=1)[1] == dev != set_apart(POOL, 4, seed=2)[1]
    assert set(set_apart(POOL, 5, seed=1)[1]) > set(dev)


def test_none_are_set_apart_by_default_and_never_all() -> None:
    assert set_apart(POOL, 0, seed=1) == (POOL, ())
    with pytest.raises(
        PoolError, match=r"evaluation\.dev_prompts is 10, but the pool has 10 held-out prompts"
    ):
        set_apart(POOL, 10, seed=1)
