"""Responses that were compared in part: nothing but what was labelled is learnt, by any algorithm."""

from __future__ import annotations

import math

import pytest
import torch

from metrics.reward.bradley_terry import pairs_of
from pools.subset import draw
from pools.types import Compared, Example, Prompt, Response
from trainers.algorithms.base import keep_ranked
from trainers.algorithms.dpo import DPO
from trainers.algorithms.pairs import Pairs
from trainers.algorithms.plackett_luce import PlackettLuce
from trainers.algorithms.pro import PRO
from trainers.algorithms.rrhf import RRHF
from trainers.policy.batching import Batch, Ranking, collate
from trainers.policy.policy import ResponseLogps

CHAIN: Compared = ((0, 1), (1, 2), (2, 3))  # A beat B, B beat C, C beat D
APART: Compared = ((0, 2), (1, 3))  # A beat C, B beat D; best scores 1, worst 0
MEANS = [-1.0, -3.0, -2.0, -0.5]


def ranked(scores: tuple[float, ...], compared: Compared | None) -> Batch:
    responses = tuple([6 + place] for place in range(len(scores)))
    return collate([Ranking([5], responses, scores, tuple(0.0 for _ in scores), compared=compared)])


def logps(means: list[float]) -> ResponseLogps:
    values = torch.tensor(means, dtype=torch.float64)
    return ResponseLogps(values, torch.ones_like(values))


@pytest.mark.parametrize(
    ("policy", "chain", "apart"),
    [
        ("all", [(0, 1), (1, 2), (2, 3)], [(0, 2), (1, 3)]),
        ("adjacent", [(0, 1), (1, 2), (2, 3)], [(0, 2), (1, 3)]),
        ("best_worst", [(0, 1)], [(0, 2)]),
        ("best_low", [(0, 1)], [(0, 2)]),
        ("margin", [(0, 1), (1, 2), (2, 3)], [(0, 2), (1, 3)]),
    ],
)
def test_pairs_are_only_those_that_were_compared(
    policy: str, chain: list[tuple[int, int]], apart: list[tuple[int, int]]
) -> None:
    pairs = Pairs(policy)  # type: ignore[arg-type]
    assert pairs.draw([3.0, 2.0, 1.0, 0.0], CHAIN) == chain
    assert pairs.draw([1.0, 1.0, 0.0, 0.0], APART) == apart
    assert pairs.draw([3.0, 2.0], ()) == []


def test_rrhf_hinges_on_the_compared_pairs_alone() -> None:
    # A over B holds (-1 > -3); B under C costs 1, C under D 1.5; A under D was never asked.
    # Imitation of A: 1.
    loss = RRHF().loss(logps(MEANS), ranked((3.0, 2.0, 1.0, 0.0), CHAIN)).total
    assert float(loss) == pytest.approx(1.0 + 1.5 + 1.0)
    # All pairs: B-C 1, B-D 2.5, C-D 1.5, A-D 0.5.
    every = RRHF().loss(logps(MEANS), ranked((3.0, 2.0, 1.0, 0.0), None)).total
    assert float(every) == pytest.approx(1 + 2.5 + 1.5 + 0.5 + 1)


def test_plackett_luce_sets_each_against_those_it_beat() -> None:
    def term(better: float, *worse: float) -> float:
        return math.log(sum(map(math.exp, (better, *worse)))) - better

    loss = PlackettLuce().loss(logps(MEANS), ranked((3.0, 2.0, 1.0, 0.0), CHAIN)).total
    assert float(loss) == pytest.approx(term(-1, -3) + term(-3, -2) + term(-2, -0.5))
    apart = PlackettLuce().loss(logps(MEANS), ranked((1.0, 1.0, 0.0, 0.0), APART)).total
    assert float(apart) == pytest.approx(term(-1, -2) + term(-3, -0.5))


def test_plackett_luce_gives_equal_scores_no_order() -> None:
    def loss(means: list[float]) -> float:
        return float(PlackettLuce().loss(logps(means), ranked((1.0, 1.0, 0.0), None)).total)

    assert loss([-1.0, -3.0, -2.0]) == pytest.approx(loss([-3.0, -1.0, -2.0]))


def test_pro_compares_what_was_compared() -> None:
    # Gaps are 1, so that each term is log(1 + exp(worse - better)).
    loss = PRO(sft_weight=0.0).loss(logps(MEANS), ranked((3.0, 2.0, 1.0, 0.0), CHAIN)).total
    assert float(loss) == pytest.approx(sum(math.log1p(math.exp(gap)) for gap in (-2.0, 1.0, 1.5)))


def test_dpo_trains_on_the_compared_pairs() -> None:
    dpo = DPO(Pairs("all"), beta=1.0)
    loss = dpo.loss(logps(MEANS), ranked((1.0, 1.0, 0.0, 0.0), APART)).total
    assert float(loss) == pytest.approx((math.log1p(math.exp(-1.0)) + math.log1p(math.exp(2.5))) / 2)


def test_what_was_never_compared_teaches_nothing() -> None:
    ranking = Ranking([5], ([6], [7]), (1.0, 0.0), compared=())
    assert keep_ranked(ranking) is None
    assert Pairs().keep_paired(ranking) is None


def test_a_ranking_keeps_the_pairs_among_what_is_kept() -> None:
    whole = Ranking([5], ([6], [7], [8], [9]), (3.0, 2.0, 1.0, 0.0), compared=CHAIN)
    assert whole.keep([3, 1, 2]).compared == ((0, 1), (1, 2))
    assert whole.keep([0, 3]).compared == ()


@pytest.mark.parametrize("seed", range(12))
def test_what_is_drawn_was_compared_where_it_can_be(seed: int) -> None:
    responses = tuple(Response(text, score) for text, score in zip("ABCD", (3.0, 2.0, 1.0, 0.0), strict=True))
    example = Example(Prompt("p"), responses, CHAIN)
    two, three = (draw([example], prompts=1, responses=k, seed=seed)[0] for k in (2, 3))
    assert two.compared == ((0, 1),)
    assert three.compared == ((0, 1), (1, 2))
    assert set(two.responses) < set(three.responses)


def test_a_reward_is_fitted_on_the_compared_pairs() -> None:
    pairs = pairs_of([[1.0, 0.0], [3.0, 2.0, 1.0, 0.0]], [None, CHAIN])
    assert list(zip(pairs.better, pairs.worse, pairs.prompt, strict=True)) == [
        (0, 1, 0),
        (2, 3, 1),
        (3, 4, 1),
        (4, 5, 1),
    ]
