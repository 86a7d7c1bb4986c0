"""Krippendorff's alpha against his library's reference, and its parts."""

from __future__ import annotations

import krippendorff
import numpy as np
import pytest

from annotation.ratings.agreement import agreement
from annotation.ratings.intake import Judgement

NAN = float("nan")


def ratings_of(table: np.ndarray, responses: int) -> list[Judgement]:
    """Judgements from a table [raters, units], units being `responses` for each prompt in turn."""
    found = []
    for rater, row in enumerate(table):
        for prompt in range(len(row) // responses):
            own = row[prompt * responses : (prompt + 1) * responses]
            values = {f"{prompt}-{place}": float(v) for place, v in enumerate(own) if not np.isnan(v)}
            found.append(Judgement(f"r{rater}", f"p{prompt}", values, "rating", None, False, 0.0, False))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_alpha_is_that_of_the_library(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.integers(1, 6, 60)
    table = np.clip(truth + rng.integers(-1, 2, (4, 60)), 1, 5).astype(float)
    table[rng.random(table.shape) < 0.3] = NAN
    expected = krippendorff.alpha(reliability_data=table, level_of_measurement="ordinal")
    found = agreement(ratings_of(table, 3))
    assert found.alpha == pytest.approx(expected, abs=1e-9)
    assert found.interval_95 is not None
    low, high = found.interval_95
    assert low < expected < high


def test_alpha_of_rankings_is_that_of_the_library() -> None:
    rng = np.random.default_rng(9)
    ranks = np.array([[rng.permutation(4) + 1.0 for _ in range(20)] for _ in range(3)]).reshape(3, 80)
    expected = krippendorff.alpha(reliability_data=ranks, level_of_measurement="ordinal")
    assert agreement(ratings_of(ranks, 4)).alpha == pytest.approx(expected, abs=1e-9)


def pair(rater: str, prompt: int, first_is_better: bool, names: str = "ab") -> Judgement:
    ranks = dict(zip(names, (1.0, 2.0) if first_is_better else (2.0, 1.0), strict=True))
    return Judgement(rater, f"p{prompt}", ranks, "rank", None, False, 0.0, False)


def test_pairs_count_both_ways_round() -> None:
    rng = np.random.default_rng(4)
    said = rng.random((3, 40)) < 0.7
    found = agreement([pair(f"r{j}", p, bool(said[j, p])) for j in range(3) for p in range(40)])
    renamed = agreement(
        [pair(f"r{j}", p, bool(said[j, p]), ("ab", "ba")[p % 2]) for j in range(3) for p in range(40)]
    )
    both = np.concatenate([said, ~said], axis=1) * 2.0 - 1
    expected = krippendorff.alpha(reliability_data=both, level_of_measurement="ordinal")
    assert found.alpha == pytest.approx(expected, abs=1e-9)
    assert renamed.alpha == pytest.approx(expected, abs=1e-9)  # names do not matter


def test_a_rater_apart_has_the_lowest_alpha_and_a_disputed_prompt_too() -> None:
    table = np.tile(np.array([1.0, 2, 3, 4, 1, 2, 3, 4, 4, 3, 2, 1]), (4, 1))
    table[3] = 5 - table[3]
    table[:, 8:] = [4, 3, 2, 1]
    found = agreement(ratings_of(table, 4))
    assert min(found.raters, key=lambda name: found.raters[name]) == "r3"
    assert found.prompts["p2"] == 1.0 > found.prompts["p0"]


def test_full_agreement_is_one_and_none_is_told_as_none() -> None:
    table = np.array([[1.0, 2, 3], [1, 2, 3]])
    assert agreement(ratings_of(table, 3)).alpha == 1.0
    assert agreement(ratings_of(table[:1], 3)).alpha is None
    assert agreement(ratings_of(np.ones((2, 3)), 3)).alpha is None
    assert agreement([]).alpha is None
