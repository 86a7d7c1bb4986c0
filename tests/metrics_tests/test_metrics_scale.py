"""Counting a stream: the same number as at once, the way from exact to approximate, and Heaps' law."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import PoolError
from metrics.diversity import diversity
from metrics.heaps import Curve, fit_heaps, nested_curve
from metrics.hyperloglog import DistinctSketch
from metrics.scale import StreamCounter
from metrics.tokens import TokenTable

VOCABULARY = 3000


def zipf_table(prompts: int, seed: int = 0) -> TokenTable:
    rng = np.random.default_rng(seed)
    rows = [(rng.zipf(1.3, size) % VOCABULARY).tolist() for size in rng.integers(0, 60, prompts)]
    return TokenTable.from_lists(rows)


def streamed(table: TokenTable, step: int = 100, **options: object) -> StreamCounter:
    counter = StreamCounter(VOCABULARY, **options)  # type: ignore[arg-type]
    for start in range(0, len(table), step):
        counter.add(table.slice(start, min(start + step, len(table))))
    return counter


@given(st.lists(st.lists(st.integers(0, 5), max_size=7), max_size=9), st.integers(1, 4), st.integers(1, 4))
def test_a_stream_measures_as_the_whole_does(rows: list[list[int]], order: int, step: int) -> None:
    table = TokenTable.from_lists(rows)
    measured = streamed(table, step, order=order).result()
    assert measured.diversity() == diversity(table, order=order)
    assert (measured.prompts, measured.tokens) == (len(table), len(table.ids))
    assert measured.error == 0.0


def test_past_the_limit_a_sketch_goes_on_near_the_truth() -> None:
    table = zipf_table(3000)
    exact = streamed(table, engine="exact").result()
    for engine in ("auto", "approximate"):
        measured = streamed(table, engine=engine, limit=5000).result()
        assert measured.error == DistinctSketch.STANDARD_ERROR
        assert measured.distinct == pytest.approx(exact.distinct, rel=4 * measured.error)
        assert (measured.prompts, measured.total) == (exact.prompts, exact.total)
        assert measured.curve is not None
        assert (np.diff(measured.curve.prompts) >= 0).all()


def test_exact_refuses_to_go_past_its_limit() -> None:
    with pytest.raises(PoolError, match="more than 5,000 distinct.*--engine ray"):
        streamed(zipf_table(3000), engine="exact", limit=5000)


def test_a_limit_counts_distinct_ngrams_not_repeats() -> None:
    table = TokenTable.from_lists([[1, 2, 3, 4]] * 1000)
    assert streamed(table, engine="exact", limit=1003).result().distinct == 3


@pytest.mark.parametrize("distinct", [0, 1, 1000, 100_000, 1_000_000])
def test_the_sketch_is_within_its_error(distinct: int) -> None:
    sketch = DistinctSketch()
    codes = np.arange(distinct, dtype=np.uint64) * np.uint64(2**20 + 1)
    for _ in range(2):  # repeats change nothing
        sketch.add(codes)
    assert sketch.estimate() == pytest.approx(distinct, rel=4 * DistinctSketch.STANDARD_ERROR)


def power_law(exponents: float | np.ndarray, prompts: np.ndarray) -> Curve:
    return Curve(prompts, 5 * (100 * prompts) ** exponents, 100 * prompts)


def test_heaps_law_is_recovered_from_a_power_law() -> None:
    fit = fit_heaps(power_law(0.7, np.geomspace(20, 20_000, 40)))
    assert fit is not None
    assert (fit.constant, fit.exponent, fit.recent_exponent) == pytest.approx((5.0, 0.7, 0.7))
    assert (fit.peak_prompts, fit.peak_seen) == (None, False)


def bending(prompts: np.ndarray, peak: float) -> Curve:
    """D is a parabola in the logarithm of prompts, largest at `peak`."""
    score = -0.05 * (np.log(prompts) - np.log(peak)) ** 2
    return Curve(prompts, np.exp(score - 0.5 * np.log(prompts) + np.log(100 * prompts)), 100 * prompts)


def test_the_peak_of_diversity_is_seen_or_foretold() -> None:
    prompts = np.geomspace(20, 20_000, 40)
    passed, ahead = fit_heaps(bending(prompts, 3000.0)), fit_heaps(bending(prompts, 100_000.0))
    assert passed is not None and ahead is not None
    assert passed.peak_seen and passed.peak_prompts == pytest.approx(3000.0, rel=0.2)
    assert not ahead.peak_seen and ahead.peak_prompts == pytest.approx(100_000.0, rel=0.01)


def test_too_short_a_curve_has_no_fit() -> None:
    assert fit_heaps(nested_curve(np.ones(20, np.int64), np.ones(20, np.int64))) is None
    assert fit_heaps(nested_curve(np.empty(0, np.int64), np.empty(0, np.int64))) is None


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=200))
def test_the_nested_curve_ends_with_everything(steps: list[tuple[int, int]]) -> None:
    gains, totals = np.array(steps, np.int64).T
    curve = nested_curve(gains, totals)
    assert (curve.prompts[-1], curve.distinct[-1], curve.total[-1]) == (len(steps), gains.sum(), totals.sum())
    assert (np.diff(curve.prompts) > 0).all()
