"""The search benchmark: its grounds, its bookkeeping, and that the plan it drives is the product's."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import search as benchmark


@pytest.mark.parametrize("method", ["plan", "grid", "random", "tpe"])
def test_a_replay_is_the_same_twice_and_counts_its_samples(method: str) -> None:
    once, again = (benchmark.replay("no diversity effect", method, 3, 1) for _ in range(2))
    assert once == again
    assert 0.1 < once["samples"] < 1.2 and once["right"] in (0.0, 1.0)
    assert method != "grid" or once["samples"] == pytest.approx(1)


def test_samples_until_right_count_from_where_the_answer_stays_right() -> None:
    assert benchmark._until_right([(1, False), (2, True), (3, False), (4, True), (5, True)]) == 4
    assert benchmark._until_right([(1, True), (2, False)]) == np.inf
    assert benchmark._at([(1, False), (2, True), (5, False)], 3) and not benchmark._at([(4, True)], 3)
