"""Batches hold every row once, longest first, within the budget."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from base.batching import padded_batches


@given(st.lists(st.integers(1, 40), max_size=30), st.integers(1, 20), st.integers(1, 300))
def test_batches_fit_the_budget(lengths: list[int], new: int, budget: int) -> None:
    batches = list(padded_batches([length + new for length in lengths], budget))
    assert Counter(i for batch in batches for i in batch) == Counter(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * (max(lengths[i] for i in batch) + new) <= budget
    flat = [lengths[i] for batch in batches for i in batch]
    assert flat == sorted(flat, reverse=True)


def test_batches_hold_every_row_once_within_the_budget() -> None:
    lengths = [5, 90, 3, 40, 41, 7, 200]
    made = list(padded_batches(lengths, token_budget=90))
    assert sorted(index for batch in made for index in batch) == list(range(7))
    assert all(len(batch) == 1 or max(lengths[i] for i in batch) * len(batch) <= 90 for batch in made)
    assert made[0] == [6]
