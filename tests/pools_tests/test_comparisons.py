"""Strengths from comparisons: what was labelled, in the order that was labelled, and no more."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pools.comparisons import Comparison, decided, strengths
from pools.config import PoolConfig
from pools.readers import MemorySource
from pools.sources import assemble
from pools.types import Example


def pool_of(*pairs: tuple[str, str]) -> Example:
    rows = [{"prompt": "p", "chosen": better, "rejected": worse} for better, worse in pairs]
    (example,) = assemble(MemorySource(rows), None, PoolConfig(), seed=0)[0].train
    return example


def test_a_single_comparison_is_one_apart() -> None:
    assert strengths(2, [Comparison(0, 1, 1.0)]) == [1.0, 0.0]
    assert strengths(2, [Comparison(0, 1, 0.5)]) == [0.5, 0.5]


def test_adjacent_pairs_make_a_chain_and_no_other_pair() -> None:
    example = pool_of(("A", "B"), ("B", "C"), ("C", "D"))
    scores = [response.score for response in example.responses]
    assert scores == sorted(scores, reverse=True) and len(set(scores)) == 4
    assert example.compared == ((0, 1), (1, 2), (2, 3))


def test_pairs_that_nothing_connects_stay_apart() -> None:
    example = pool_of(("A", "B"), ("C", "D"))
    assert [response.score for response in example.responses] == [1.0, 0.0, 1.0, 0.0]
    assert example.compared == ((0, 1), (2, 3))


def test_the_majority_decides_and_a_draw_ranks_nothing() -> None:
    most = pool_of(("A", "B"), ("B", "A"), ("A", "B"))
    assert most.responses[0].score > most.responses[1].score and most.compared is None
    draw = pool_of(("A", "B"), ("B", "A"))
    assert draw.responses[0].score == draw.responses[1].score


def test_a_full_set_of_comparisons_needs_no_list() -> None:
    assert pool_of(("A", "B"), ("B", "C"), ("A", "C")).compared is None


@st.composite
def tournaments(draw: st.DrawFn) -> tuple[int, list[Comparison]]:
    """Comparisons that agree with one order, the smaller number the better."""
    count = draw(st.integers(2, 7))
    pair = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda p: p[0] < p[1])
    return count, [Comparison(a, b, 1.0) for a, b in draw(st.lists(pair, min_size=1, max_size=12))]


@settings(max_examples=150, deadline=None)
@given(tournaments())
def test_no_labelled_order_is_lost_and_none_is_invented(drawn: tuple[int, list[Comparison]]) -> None:
    count, games = drawn
    scores = strengths(count, games)
    assert all(scores[a] > scores[b] for a, b, _ in games)
    pairs = decided(scores, games)
    labelled = {(a, b) for a, b, _ in games}
    assert pairs is None or set(pairs) == labelled
    if pairs is None:
        assert {(a, b) for a in range(count) for b in range(count) if scores[a] > scores[b]} == labelled
