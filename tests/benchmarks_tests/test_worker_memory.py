"""The benchmark of a worker's memory refuses to compare trainings that learnt different things."""

from __future__ import annotations

import pytest

from benchmarks.worker_memory import summary

ROW = {"reward": 0.5, "loss": 2.0, "resident": 1.0, "peak": 3.0}


def test_figures_of_both_ways() -> None:
    found = summary([ROW, ROW | {"peak": 3.1}], [ROW, ROW | {"peak": 4.0}])
    assert found["released peak"] == [3.0, 3.1] and found["kept peak"] == [3.0, 4.0]


@pytest.mark.parametrize("name", ["reward", "loss"])
def test_a_different_training_is_no_comparison(name: str) -> None:
    with pytest.raises(AssertionError, match=name):
        summary([ROW], [ROW | {name: 0.1}])
