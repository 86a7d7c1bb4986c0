"""Losses worked by hand on small numbers."""

from __future__ import annotations

from math import exp, log, log1p

import pytest
import torch

from trainers.algorithms.registry import make_algorithm
from trainers.config.algorithm import AlgorithmConfig
from trainers.policy.batching import Batch, Ranking, collate
from trainers.policy.policy import ResponseLogps


def batch_of(*scores: tuple[float, ...], reference: float | None = None) -> Batch:
    return collate(
        [
            Ranking(
                [5], tuple([6, 7] for _ in row), row, None if reference is None else (reference,) * len(row)
            )
            for row in scores
        ]
    )


def logps(*means: float, tokens: float = 2.0) -> ResponseLogps:
    return ResponseLogps(torch.tensor(means) * tokens, torch.full((len(means),), tokens))


def loss(config: dict[str, object], batch: Batch, *means: float) -> float:
    return float(make_algorithm(AlgorithmConfig(**config)).loss(logps(*means), batch).total)


def test_sft_is_minus_the_best_response_per_token() -> None:
    assert loss({"name": "sft"}, batch_of((1.0, 0.0), (0.5,)), -1.0, -3.0, -0.25) == pytest.approx(1.25)


def test_weighted_sft() -> None:
    weight = exp(2.0) / (exp(2.0) + 1)
    got = loss(
        {"name": "sft", "sft_target": "weighted", "sft_temperature": 0.5}, batch_of((1.0, 0.0)), -1.0, -3.0
    )
    assert got == pytest.approx(weight * 1 + (1 - weight) * 3)


def test_pro_of_two_responses() -> None:
    # Both temperatures are 1 / (0.9 - 0.4) = 2; the margin of log-probabilities is 1.
    rank = log1p(exp(-1.0 * 0.5))
    got = loss({"name": "pro", "sft_weight": 0.05}, batch_of((0.9, 0.4)), -1.0, -2.0)
    assert got == pytest.approx(rank + 0.05 * 2.0), "imitation is summed over the two tokens"


def test_pro_of_three_responses() -> None:
    means, gaps = (-1.0, -1.5, -0.5), {(1, 2): 0.3, (1, 3): 0.8, (2, 3): 0.5}
    first_own = exp(means[0] * 0.8)  # 1/T_11 = the largest gap
    first = -log(first_own / (first_own + exp(means[1] * gaps[1, 2]) + exp(means[2] * gaps[1, 3])))
    second_own = exp(means[1] * 0.5)
    second = -log(second_own / (second_own + exp(means[2] * gaps[2, 3])))
    sft = 0.05 * 2**2 * 2.0
    assert loss({"name": "pro"}, batch_of((1.0, 0.7, 0.2)), *means) == pytest.approx(first + second + sft)


def test_pro_of_rankings_of_several_sizes_is_their_sum() -> None:
    together = loss({"name": "pro"}, batch_of((1.0, 0.7, 0.2), (0.9, 0.4)), -1.0, -1.5, -0.5, -1.0, -2.0)
    alone = loss({"name": "pro"}, batch_of((1.0, 0.7, 0.2)), -1.0, -1.5, -0.5)
    assert together == pytest.approx(alone + loss({"name": "pro"}, batch_of((0.9, 0.4)), -1.0, -2.0))


def test_pro_of_a_tie_has_no_ranking_gradient() -> None:
    total = torch.tensor([-2.0, -4.0], requires_grad=True)
    algorithm = make_algorithm(AlgorithmConfig(name="pro", sft_weight=0.0))
    out = algorithm.loss(ResponseLogps(total, torch.full((2,), 2.0)), batch_of((0.5, 0.5)))
    out.total.backward()
    assert out.total.item() == pytest.approx(log(2)) and total.grad is not None
    assert total.grad.tolist() == [0.0, 0.0]


def test_plackett_luce() -> None:
    means = (-1.0, -1.5, -0.5)
    first = log(sum(exp(2 * m) for m in means)) - 2 * means[0]
    second = log(sum(exp(2 * m) for m in means[1:])) - 2 * means[1]
    got = loss({"name": "plackett_luce", "beta": 2.0}, batch_of((3.0, 2.0, 1.0)), *means)
    assert got == pytest.approx(first + second)


def test_rrhf_counts_misordered_pairs_only() -> None:
    # p = -1, -1.5, -0.5: the third outranks the first by 0.5 and the second by 1.
    assert loss({"name": "rrhf"}, batch_of((3.0, 2.0, 1.0)), -1.0, -1.5, -0.5) == pytest.approx(
        0.5 + 1.0 + 1.0
    )


def test_dpo() -> None:
    # h = 2 x (-1) - (-3) = 1 and 2 x (-2) - (-3) = -1.
    got = loss({"name": "dpo", "beta": 0.5}, batch_of((1.0, 0.0), reference=-3.0), -1.0, -2.0)
    assert got == pytest.approx(log1p(exp(-0.5 * 2)))


def test_dpo_averages_over_the_pairs_of_a_ranking() -> None:
    batch = batch_of((2.0, 1.0, 0.0), reference=0.0)
    means = (-1.0, -1.5, -3.0)
    gaps = [0.1 * 2 * (a - b) for a, b in ((-1.0, -1.5), (-1.0, -3.0), (-1.5, -3.0))]
    expected = sum(log1p(exp(-gap)) for gap in gaps) / 3
    assert loss({"name": "dpo", "pairing": "all"}, batch, *means) == pytest.approx(expected)


def test_simpo() -> None:
    got = loss({"name": "simpo", "beta": 2.0, "target_margin": 0.5}, batch_of((1.0, 0.0)), -1.0, -2.0)
    assert got == pytest.approx(log1p(exp(-(2.0 * 1.0 - 0.5))))


def test_dpo_reports_margin_and_accuracy() -> None:
    batch = batch_of((1.0, 0.0), (1.0, 0.0), reference=-3.0)
    parts = make_algorithm(AlgorithmConfig(name="dpo")).loss(logps(-1.0, -2.0, -2.0, -1.0), batch).parts
    assert parts["margin"] == pytest.approx(0.0) and parts["accuracy"] == 1.0
