"""Order of prompts and learning rate: seeded, fair, and zero only after the last step."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.config import TrainerConfig
from trainers.schedule import batches, learning_rate_factor


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 30), st.integers(0, 5))
def test_every_ranking_is_visited_once_before_any_again(count: int, size: int, steps: int, seed: int) -> None:
    visits = list(chain.from_iterable(batches(count, size=size, steps=steps, seed=seed)))
    assert len(visits) == size * steps
    for start in range(0, len(visits), count):
        assert max(Counter(visits[start : start + count]).values()) == 1


def test_seeds_decide_the_order() -> None:
    def visits(seed: int) -> list[list[int]]:
        return list(batches(50, size=5, steps=10, seed=seed))

    assert visits(1) == visits(1) != visits(2)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_the_learning_rate_warms_up_then_falls(schedule: str) -> None:
    config = TrainerConfig(warmup_fraction=0.2, schedule=schedule)  # type: ignore[arg-type]
    factors = [learning_rate_factor(step, config, 20) for step in range(20)]
    assert factors[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert all(0 < factor <= 1 for factor in factors)
    falling = factors[4:]
    assert falling == sorted(falling, reverse=True)
    assert (falling[-1] == 1.0) == (schedule == "constant")
