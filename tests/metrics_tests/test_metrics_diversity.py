"""Diversity and its rivals against definitions written out by hand."""

from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.baselines import compression_ratio, distinct_n, text_baselines, token_entropy
from metrics.diversity import diversity, nested_diversity
from metrics.firsts import first_seen
from metrics.ngrams import pack_ngrams, packs_exactly
from metrics.tokens import TokenTable

Rows = list[list[int]]
SMALL = st.lists(st.lists(st.integers(0, 5), max_size=7), max_size=9)
LARGE_IDS = st.sampled_from([0, 1, 65_535, 65_536, 128_255, 262_143, 2**31 - 1])
LARGE = st.lists(st.lists(LARGE_IDS, max_size=7), max_size=6)
ORDERS = st.integers(1, 4)


def ngrams(row: list[int], order: int) -> list[tuple[int, ...]]:
    return [tuple(row[i : i + order]) for i in range(len(row) - order + 1)]


def brute_force(rows: Rows, order: int = 2, exponent: float = 0.5) -> float:
    grams = [gram for row in rows for gram in ngrams(row, order)]
    return len(rows) ** exponent * (len(set(grams)) / len(grams)) if grams else 0.0


@given(st.one_of(SMALL, LARGE), ORDERS, st.sampled_from([0.0, 0.5, 1.0]))
def test_diversity_is_the_brute_force_definition(rows: Rows, order: int, exponent: float) -> None:
    assert diversity(TokenTable.from_lists(rows), order=order, exponent=exponent) == brute_force(
        rows, order, exponent
    )


@given(st.one_of(SMALL, LARGE), ORDERS)
def test_nested_diversity_is_diversity_of_each_prefix(rows: Rows, order: int) -> None:
    nested = nested_diversity(TokenTable.from_lists(rows), order=order)
    assert nested.shape == (len(rows),)
    expected = [brute_force(rows[: i + 1], order) for i in range(len(rows))]
    np.testing.assert_allclose(nested, expected, rtol=1e-15)


@given(st.one_of(SMALL, LARGE), ORDERS)
def test_packing_tells_apart_exactly_the_different_ngrams(rows: Rows, order: int) -> None:
    packed = pack_ngrams(TokenTable.from_lists(rows), order)
    grams = [gram for row in rows for gram in ngrams(row, order)]
    assert np.diff(packed.offsets).tolist() == [len(ngrams(row, order)) for row in rows]
    assert len(set(zip(packed.codes.tolist(), grams, strict=True))) == len(set(grams))
    assert int(first_seen(packed).sum()) == len(set(grams))


@given(SMALL, SMALL, ORDERS, st.sampled_from([6, 65_536, 65_537, 2**31]))
def test_tables_packed_for_one_vocabulary_compare(
    first: Rows, second: Rows, order: int, vocabulary: int
) -> None:
    both = pack_ngrams(TokenTable.from_lists(first + second), order, vocabulary).codes
    apart = [pack_ngrams(TokenTable.from_lists(rows), order, vocabulary).codes for rows in (first, second)]
    assert both.tolist() == [code for codes in apart for code in codes.tolist()]
    grams = {gram for row in first + second for gram in ngrams(row, order)}
    assert len(set(both.tolist())) == len(grams)
    assert packs_exactly(order, vocabulary) == (vocabulary**order <= 2**64)


@given(SMALL, st.randoms())
def test_the_order_of_prompts_does_not_matter(rows: Rows, random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert diversity(TokenTable.from_lists(rows)) == diversity(TokenTable.from_lists(shuffled))


def test_worked_example() -> None:
    # Bigrams 12 23 | 12 24: three distinct of four, no bigram 3-1 across prompts; sqrt(2) x 3/4.
    table = TokenTable.from_lists([[1, 2, 3], [1, 2, 4]])
    assert diversity(table) == pytest.approx(2**0.5 * 0.75, abs=1e-15)
    assert nested_diversity(table).tolist() == pytest.approx([1.0, 2**0.5 * 0.75], abs=1e-15)


@pytest.mark.parametrize("rows", [[], [[]], [[], []], [[7]], [[1], [2], []]])
def test_a_pool_without_a_bigram_has_no_diversity(rows: Rows) -> None:
    table = TokenTable.from_lists(rows)
    assert diversity(table) == 0.0
    assert nested_diversity(table).tolist() == [0.0] * len(rows)


def test_one_prompt_scores_its_share_of_distinct_bigrams() -> None:
    assert diversity(TokenTable.from_lists([[1, 2, 1, 2]])) == pytest.approx(2 / 3)


@given(SMALL)
def test_entropy_is_its_definition(rows: Rows) -> None:
    ids = [token for row in rows for token in row]
    shares = [ids.count(token) / len(ids) for token in set(ids)]
    expected = -sum(share * log2(share) for share in shares)
    assert token_entropy(TokenTable.from_lists(rows)) == pytest.approx(expected, abs=1e-12)


def test_compression_sees_repetition_far_apart() -> None:
    noise = np.random.default_rng(0).integers(33, 127, size=100_000, dtype=np.uint8).tobytes().decode()
    assert compression_ratio([noise, noise]) > 1.9 * compression_ratio([noise])
    assert compression_ratio([]) == 1.0
    assert compression_ratio(["\ud800 lone surrogate"]) > 0


def test_all_rivals_by_name() -> None:
    table = TokenTable.from_lists([[1, 2, 3], [1, 2, 4]])
    baselines = text_baselines(table, ["one two three", "one two four"])
    assert baselines["distinct_1"] == distinct_n(table, 1) == pytest.approx(4 / 6)
    assert baselines["distinct_2"] == pytest.approx(3 / 4)
    assert baselines["distinct_4"] == 0.0
    assert (baselines["prompts"], baselines["mean_prompt_tokens"]) == (2.0, 3.0)
    assert baselines["log_prompts"] == pytest.approx(np.log(2))
    assert all(np.isfinite(value) for value in text_baselines(TokenTable.from_lists([]), []).values())
