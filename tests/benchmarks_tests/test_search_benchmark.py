"""The search benchmark: its grounds, its bookkeeping, and that the plan it drives is the product's."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import search as benchmark
from search.plan.space import Space
from search.trials.design_point import DesignPoint


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


def test_a_replay_ends_at_the_share_that_is_asked_for() -> None:
    found = benchmark.replay("no diversity effect", "random", 3, 1, until=0.34)
    assert 0.34 <= found["samples"] < 0.46


class Stubborn:
    """A peer that tries one point for ever, and names it once it has its reward."""

    def __init__(self, space: Space, seed: int) -> None:
        self.point = space.point(4, 1.0)
        self.told: list[float] = []

    def ask(self) -> DesignPoint:
        return self.point

    def tell(self, point: DesignPoint, reward: float) -> None:
        self.told.append(reward)

    def best(self, among: Sequence[DesignPoint]) -> DesignPoint | None:
        return self.point if len(self.told) > 2 else None


def test_a_peer_is_given_one_new_seed_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "benchmarks._search_peers", SimpleNamespace(PEERS={"ax": Stubborn}))
    found = benchmark.replay("no diversity effect", "ax", 0, 1, until=0.34)
    assert found["right"] == 1.0 and 0.34 <= found["samples"] < 0.46
