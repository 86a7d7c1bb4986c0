"""The tuning benchmark: its grounds are what they say, and it drives the product's plan."""

from __future__ import annotations

from dataclasses import replace

from benchmarks import tuning as benchmark
from search.trials.design_point import DesignPoint


def whole(name: str, responses: int, rate: float) -> float:
    point = DesignPoint(prompts=48_000 // responses, responses=responses)
    return benchmark.GROUNDS[name].reward(replace(point, hyperparameters=((benchmark.RATE, rate),)))


def test_four_responses_are_best_at_their_own_rate_and_at_that_of_three_only_where_that_is_said() -> None:
    for name, ground in benchmark.GROUNDS.items():
        own = {k: whole(name, k, 10**best) for k, best in ground.best.items()}
        assert max(own, key=lambda k: own[k]) == 4 and own[4] - own[3] > 4 * benchmark.MARGIN, name
        at_three = {k: whole(name, k, 1e-5) for k in own}
        assert (max(at_three, key=lambda k: at_three[k]) == 3) == (name == "moves"), name


def test_both_methods_train_equally_much_and_the_same_again() -> None:
    once, apart = (benchmark.replay("does not move", tune, 0, samples=600_000) for tune in benchmark.METHODS)
    assert once == benchmark.replay("does not move", "once", 0, samples=600_000)
    assert min(once["samples"], apart["samples"]) >= 600_000
    assert max(once["samples"], apart["samples"]) <= 600_000 + 2 * 48_000
