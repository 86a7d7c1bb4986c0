from __future__ import annotations

import pytest

from benchmarks.coverage import GROUNDS, ground_figures, held_out


@pytest.mark.slow
@pytest.mark.parametrize("name", GROUNDS)
def test_a_few_simulated_studies_are_judged_as_the_benchmark_does(name: str) -> None:
    """Loose bounds, for 20 studies: the figures themselves come from the whole benchmark."""
    figures = ground_figures(name, studies=20, seed=1)
    assert min(figures[f"covered {at}"] for at in ("tried", "between", "beyond")) > 0.8
    assert figures["regret"] < figures["regret of best observed"]
    assert (figures["says count"] >= 0.8) == (name not in ("lines", "heavy tails"))


def test_the_papers_large_sizes_are_predicted_within_the_aim() -> None:
    figures = held_out()
    assert figures["PRO"]["rmse over 12,000"] < 0.0045 and figures["SFT"]["rmse over 12,000"] < 0.0040
