from __future__ import annotations

from math import ceil, log2

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from search.config.cost import CostModel, Labelling, Split, feasible_splits, largest_split

PRICES = st.floats(0.01, 100)


def test_annotations_are_counted_by_default() -> None:
    assert CostModel().cost(12_000, 4) == 48_000
    assert feasible_splits(CostModel(), 48_000, responses=(4, 2, 3)) == [
        Split(24_000, 2), Split(16_000, 3), Split(12_000, 4),
    ]  # fmt: skip


def test_every_price_counts() -> None:
    model = CostModel(
        per_prompt=1, per_response=0.5, per_annotation=0.2, per_comparison=0.1, raters=3,
        per_generated=0.01, generated=8,
    )  # fmt: skip
    # prompt + 4 written + 3 raters x (4 annotations + 6 pairs) + 8 generated
    assert model.cost(10, 4) == pytest.approx(10 * (1 + 4 * 0.5 + 3 * (4 * 0.2 + 6 * 0.1) + 8 * 0.01))


@pytest.mark.parametrize("k", range(1, 12))
def test_comparisons_by_pairs_and_by_sorting(k: int) -> None:
    assert CostModel().comparisons_for(k) == sum(range(k))
    assert CostModel(comparisons="sort").comparisons_for(k) == (ceil(k * log2(k)) if k > 1 else 0)


def test_labelled_responses_are_generated_at_least() -> None:
    assert CostModel(per_annotation=0, per_generated=1, generated=2).cost(1, 5) == 5


def test_money_that_divides_without_a_rest_buys_all() -> None:
    assert largest_split(CostModel(per_annotation=0.1), 0.3, 1, None) == Split(3, 1)


def test_too_little_buys_nothing_and_the_pool_limits() -> None:
    assert largest_split(CostModel(), 3, 4, None) is None
    assert largest_split(CostModel(), 1e9, 4, 600) == Split(600, 4)


def test_what_is_free_is_bounded_by_the_pool_alone() -> None:
    comparisons = CostModel(per_annotation=0, per_comparison=1)
    assert largest_split(comparisons, 10, 1, 600) == Split(600, 1)
    assert largest_split(comparisons, 10, 1, None) is None


@pytest.mark.parametrize(
    "bad", [{"per_annotation": -1}, {"raters": 0}, {"per_prompt": float("nan")}, {"prize": 1}]
)
def test_bad_prices_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        CostModel(**bad)


def test_a_cost_model_without_any_price_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least one of"):
        CostModel(per_annotation=0)


@given(
    budget=st.floats(1, 1e6),
    k=st.integers(1, 9),
    prompt=PRICES,
    annotation=PRICES,
    factor=st.floats(0.001, 1000),
)
def test_the_largest_split_is_feasible_maximal_and_free_of_units(
    budget: float, k: int, prompt: float, annotation: float, factor: float
) -> None:
    model = CostModel(per_prompt=prompt, per_annotation=annotation)
    split = largest_split(model, budget, k, None)
    prompts = split.prompts if split else 0
    assert model.cost(prompts, k) <= budget * (1 + 1e-9)
    assert model.cost(prompts + 1, k) > budget * (1 - 1e-9)
    scaled = CostModel(per_prompt=prompt * factor, per_annotation=annotation * factor)
    again = largest_split(scaled, budget * factor, k, None)
    assert abs((again.prompts if again else 0) - prompts) <= (
        budget / (prompt + annotation * k) % 1 < 1e-6
    ) + (1 - budget / (prompt + annotation * k) % 1 < 1e-6)


def test_a_split_says_how_many_raters_are_paid_for() -> None:
    model = CostModel(per_prompt=1, raters=2)
    assert model.of(Split(10, 4)) == 10 * (1 + 2 * 4)
    assert model.of(Split(10, 4, 3)) == 10 * (1 + 3 * 4)
    assert largest_split(model, 130, 4, None, Labelling(3)) == Split(10, 4, 3)
    assert feasible_splits(model, 130, responses=(2, 4), labelling=Labelling(1)) == [
        Split(43, 2, 1),
        Split(26, 4, 1),
    ]
    assert (str(Split(1200, 4)), str(Split(1200, 4, 2))) == ("1,200 x 4", "1,200 x 4 x 2")
