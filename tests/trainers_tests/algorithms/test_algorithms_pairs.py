from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainers.algorithms.pairs import Pairs
from trainers.algorithms.registry import make_algorithm
from trainers.config.algorithm import AlgorithmConfig
from trainers.policy.batching import Ranking, collate

SCORES = (0.9, 0.8, 0.5, 0.1)
falling = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]), min_size=2, max_size=6).map(
    lambda scores: tuple(sorted(scores, reverse=True))
)
policies = st.sampled_from(["best_worst", "adjacent", "all", "best_low", "margin"])


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("best_worst", [(0, 3)]),
        ("adjacent", [(0, 1), (1, 2), (2, 3)]),
        ("all", [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]),
        ("best_low", [(0, 3)]),  # mean 0.575 - 2 x 0.311 is below the lowest
    ],
)
def test_policies(policy: str, expected: list[tuple[int, int]]) -> None:
    assert Pairs(policy).draw(SCORES) == expected  # type: ignore[arg-type]


def test_best_low_avoids_an_outlier() -> None:
    # Mean 0.894, deviation 0.286: 0.322 is nearer to 0.3 than to 0.
    assert Pairs("best_low").draw((1.0,) * 14 + (0.3, 0.0)) == [(0, 14)]


def test_margin_window() -> None:
    assert Pairs("margin", 0.3, 0.5).draw((0.9, 0.8, 0.45, 0.1)) == [(0, 2), (1, 2), (2, 3)]


@given(falling, policies)
def test_pairs_are_never_tied_and_survive_dropping_the_rest(scores: tuple[float, ...], policy: str) -> None:
    pairs = Pairs(policy, 0.2, 0.8)  # type: ignore[arg-type]
    drawn = pairs.draw(scores)
    assert all(scores[i] > scores[j] for i, j in drawn)
    ranking = Ranking([5], tuple([6 + i, 2] for i in range(len(scores))), scores)
    kept = pairs.keep_paired(ranking)
    if not drawn:
        assert kept is None
        return
    assert kept is not None

    def responses(of: Ranking) -> list[tuple[int, int]]:
        return [(of.response_ids[i][0], of.response_ids[j][0]) for i, j in pairs.draw(of.scores)]

    assert responses(kept) == responses(ranking)


@given(st.lists(falling, min_size=1, max_size=4), policies)
def test_each_ranking_with_pairs_weighs_one(rows: list[tuple[float, ...]], policy: str) -> None:
    pairs = Pairs(policy, 0.2, 0.8)  # type: ignore[arg-type]
    batch = collate([Ranking([5], tuple([6] for _ in row), row) for row in rows])
    better, worse, weights = pairs.of_batch(batch)
    assert float(weights.sum()) == pytest.approx(
        sum(bool(pairs.draw(b.tolist())) for b in batch.scores.split(list(batch.sizes)))
    )
    assert bool((batch.scores[better] > batch.scores[worse]).all())


def test_margins_out_of_order_are_refused() -> None:
    with pytest.raises(ValidationError, match="max_margin 0.1 is below min_margin 0.5"):
        AlgorithmConfig(pairing="margin", min_margin=0.5, max_margin=0.1)


def test_config_answers_without_torch() -> None:
    assert AlgorithmConfig(name="sft").min_responses == 1
    assert AlgorithmConfig(name="dpo").min_responses == 2
    algorithms = [make_algorithm(AlgorithmConfig(name=name)) for name in ("sft", "pro", "dpo")]
    assert [algorithm.name for algorithm in algorithms if algorithm.uses_reference] == ["dpo"]
