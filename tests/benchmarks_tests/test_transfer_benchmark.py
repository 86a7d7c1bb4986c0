"""The transfer benchmark: its grounds are what they say, and it drives the product's plan and judgement."""

from __future__ import annotations

from benchmarks import transfer as benchmark
from search.trials.design_point import DesignPoint


def test_a_reversal_three_times_the_studys_differences_is_named_at_once() -> None:
    found = benchmark.replay("reversed, three times", 0, trials=4)
    assert found == benchmark.replay("reversed, three times", 0, trials=4)
    assert found["named"] == found["baseline named"] == 1.0 and found["trainings"] <= 8


def test_the_same_ground_is_worth_the_same_in_both() -> None:
    point = DesignPoint(prompts=12_000, responses=4)
    other = DesignPoint(prompts=24_000, responses=2)
    for name, gain in benchmark.GROUNDS.items():
        truth = benchmark.truth(benchmark.STEP * gain)
        lead = truth(point) - truth(other)
        assert abs(lead - 2 * gain * benchmark.STEP) < 1e-9, name
