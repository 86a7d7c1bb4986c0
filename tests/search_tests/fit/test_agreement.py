"""Kendall's tau of two rankings, worked by hand, and what few or noisy seeds leave open."""

from __future__ import annotations

import numpy as np
import pytest

from search.fit.agreement import kendall, paired_agreement


def test_tau_counts_pairs_in_one_order_less_pairs_in_the_other() -> None:
    one = np.array([1.0, 2.0, 3.0, 4.0])
    assert kendall(one, one) == 1 and kendall(one, -one) == -1
    assert kendall(one, np.array([2.0, 1.0, 3.0, 4.0])) == pytest.approx(4 / 6)
    assert kendall(one, np.array([1.0, 1.0, 3.0, 4.0])) == pytest.approx(5 / 6)


def test_far_apart_rankings_are_certain_and_close_ones_are_not() -> None:
    clear = [[0.1, 0.11], [0.3, 0.31], [0.5, 0.51]]
    same = paired_agreement(clear, clear)
    assert same.tau == 1 and same.interval_95 == (1.0, 1.0)
    close = [[0.30, 0.34], [0.31, 0.36], [0.32, 0.30]]
    unsure = paired_agreement(close, [[row[1], row[0]] for row in close])
    assert unsure.interval_95 is not None and unsure.interval_95[0] < 0 < unsure.interval_95[1]


def test_noise_that_both_rewards_share_hides_no_agreement() -> None:
    shift = [[0.0, 0.1], [0.05, -0.1], [0.1, -0.02]]
    one = [[0.3 + luck + 0.02 * i for luck in row] for i, row in enumerate(shift)]
    assert paired_agreement(one, one).interval_95 == (1.0, 1.0)


def test_one_seed_each_gives_no_interval() -> None:
    found = paired_agreement([[0.1], [0.2], [0.3]], [[0.1], [0.3], [0.2]])
    assert found.tau == pytest.approx(1 / 3) and found.interval_95 is None
    assert "no interval" in found.text()
