"""What every diversity metric on tokens keeps to, whatever its formula."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metrics.baselines import distinct_n, nested_distinct_n, nested_token_entropy, token_entropy
from metrics.diversity import diversity, nested_diversity
from metrics.tokens import TokenTable

Metric = tuple[Callable[[TokenTable], float], Callable[[TokenTable], np.ndarray]]


def of_order(order: int) -> Metric:
    return (lambda t: diversity(t, order=order)), (lambda t: nested_diversity(t, order=order))


def shares(order: int) -> Metric:
    return (lambda t: distinct_n(t, order)), (lambda t: nested_distinct_n(t, order))


METRICS: dict[str, Metric] = {
    **{f"diversity of order {order}": of_order(order) for order in (1, 2, 3, 4)},
    **{f"distinct-{order}": shares(order) for order in (1, 2, 3, 4)},
    "token entropy": (token_entropy, nested_token_entropy),
}
ROWS = st.lists(st.lists(st.integers(0, 6), max_size=8), max_size=10)
every_metric = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS.keys())


@every_metric
@given(rows=ROWS)
def test_the_nested_form_is_the_score_of_each_prefix(metric: Metric, rows: list[list[int]]) -> None:
    score, nested = metric
    scores = nested(TokenTable.from_lists(rows))
    assert scores.shape == (len(rows),)
    expected = [score(TokenTable.from_lists(rows[: n + 1])) for n in range(len(rows))]
    np.testing.assert_allclose(scores, expected, rtol=1e-12, atol=1e-12)


@every_metric
@given(rows=ROWS, rng=st.randoms())
def test_the_order_of_prompts_and_the_names_of_tokens_do_not_matter(
    metric: Metric, rows: list[list[int]], rng: object
) -> None:
    renamed = [[999 - token for token in row] for row in rows]
    rng.shuffle(renamed)  # type: ignore[attr-defined]
    score = metric[0]
    assert score(TokenTable.from_lists(renamed)) == pytest.approx(
        score(TokenTable.from_lists(rows)), abs=1e-12
    )


@every_metric
@pytest.mark.parametrize("rows", [[], [[]], [[], [], []]])
def test_no_token_scores_zero(metric: Metric, rows: list[list[int]]) -> None:
    score, nested = metric
    assert score(TokenTable.from_lists(rows)) == 0.0
    assert nested(TokenTable.from_lists(rows)).tolist() == [0.0] * len(rows)


@every_metric
@given(rows=ROWS)
def test_scores_are_finite_and_not_negative_and_leave_the_tokens_alone(
    metric: Metric, rows: list[list[int]]
) -> None:
    table = TokenTable.from_lists(rows)
    for array in (table.ids, table.offsets):
        array.setflags(write=False)
    assert 0.0 <= metric[0](table) < np.inf


@every_metric
def test_more_of_the_same_prompt_is_less_diverse_than_different_ones(metric: Metric) -> None:
    same = TokenTable.from_lists([[1, 2, 3, 4, 5]] * 4)
    different = TokenTable.from_lists([[5 * i + j for j in range(5)] for i in range(4)])
    assert metric[0](same) < metric[0](different)
