"""Labels of r raters: nested, never saying more than r raters hold, as right as was assumed."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from base.errors import PoolError
from pools.check import ratings_of
from pools.raters import RaterLabels, fewest_raters, rater_error, said_by
from pools.stored import pack_responses, unpack_responses
from pools.subset import draw
from pools.types import Example, MemoryExamples, Prompt, Rating, Response


def examples(count: int, *scores: float) -> MemoryExamples:
    """Prompts whose responses have these scores, in shuffled order, or normal ones where none are given."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(count, 4)) if not scores else np.tile(scores, (count, 1))
    return MemoryExamples(
        Example(Prompt(f"prompt {i}"), tuple(Response(f"r{j}", float(s)) for j, s in enumerate(row)))
        for i, row in enumerate(generator.permuted(rows, axis=1))
    )


def score_of(example: Example) -> dict[str, float]:
    return {response.text: response.score for response in example.responses}


def right(labels: RaterLabels, pool: MemoryExamples, seed: int = 0) -> float:
    """The share of pairs in the order of the pool's scores, ties as halves."""
    found = []
    for example in pool:
        true, said = score_of(example), score_of(labels.of(example, seed))
        for a, b in combinations(true, 2):
            found.append(0.5 + 0.5 * np.sign(said[a] - said[b]) * np.sign(true[a] - true[b]))
    return float(np.mean(found))


@pytest.mark.parametrize("agreement", [0.6, 0.75, 0.9])
def test_one_rater_is_as_right_as_was_assumed_and_three_are_better(agreement: float) -> None:
    pool = examples(2_000)
    error = rater_error(pool, agreement)
    one, three = (right(RaterLabels(r, error), pool) for r in (1, 3))
    assert one == pytest.approx(agreement, abs=0.01) and three > one + 0.02


def test_without_noise_any_number_of_raters_gives_the_pools_order() -> None:
    pool = examples(50)
    assert rater_error(pool, 1.0) == 0.0
    for raters in (1, 3):
        assert right(RaterLabels(raters, 0.0), pool) == 1.0


def test_the_first_of_three_raters_is_the_one_rater() -> None:
    """What one rater says of a pair, three outvote only together; and the votes differ by seed."""
    pool, turned = examples(300, 0.0, 1.0), 0
    labels = {r: [RaterLabels(r, 1.0).of(e, 0) for e in pool] for r in (1, 2, 3)}
    for one, two, three in zip(labels[1], labels[2], labels[3], strict=True):
        first, pair, triple = (score_of(each)["r0"] for each in (one, two, three))
        assert first in (0.0, 1.0) and pair in (first, 0.5) and round(3 * triple) - first in (0, 1, 2)
        turned += (triple > 0.5) != (first > 0.5)
    assert 0 < turned < 150
    again = [RaterLabels(1, 1.0).of(e, 0) for e in pool]
    assert again == labels[1] != [RaterLabels(1, 1.0).of(e, 1) for e in pool]


def test_r_raters_say_no_more_than_r_votes_on_each_pair() -> None:
    """Of two responses r raters can give r + 1 different answers, however finely the pool scores them."""
    pool = examples(500)
    for raters in (1, 2, 3):
        pairs = draw(pool, prompts=500, responses=2, seed=3)
        scores = {one.score for e in pairs for one in RaterLabels(raters, 0.8).of(e, 3).responses}
        assert len(scores) == raters + 1
        assert scores == {round(votes / raters, 9) for votes in range(raters + 1)}


def test_responses_that_are_not_shown_leave_no_trace() -> None:
    """The labels of two responses are the same whatever else the prompt has."""
    labels = RaterLabels(3, 1.0)
    for example in examples(50):
        pair = Example(example.prompt, example.responses[:2])
        other = tuple(Response(one.text, 9.0) for one in example.responses[2:])
        more = Example(example.prompt, (*example.responses[:2], *other))
        kept = labels.of(pair, 0)
        assert kept == labels.of(Example(more.prompt, more.responses[:2]), 0)


def test_ties_and_guesses_do_not_keep_the_true_order() -> None:
    """With raters who guess, the best response comes first no more often than by chance."""
    guess, pool = RaterLabels(2, 1e9), examples(2_000)
    first = np.mean(
        [guess.of(e, 0).responses[0].text == max(e.responses, key=lambda r: r.score).text for e in pool]
    )
    assert first == pytest.approx(0.25, abs=0.04)


def test_pairs_that_were_not_compared_stay_so() -> None:
    example = Example(
        Prompt("p"), (Response("a", 2.0), Response("b", 1.0), Response("c", 0.0)), ((0, 1), (1, 2))
    )
    same = RaterLabels(1, 0.0).of(example, 0)
    texts = [response.text for response in same.responses]
    assert {(texts[a], texts[b]) for a, b in same.compared or ()} == {("a", "b"), ("b", "c")}


def rated(*ranks: tuple[int, ...]) -> Example:
    """Responses a and b with the ranks that raters r0, r1, ... gave them."""
    said = [tuple(Rating(f"r{who}", -float(own[i])) for who, own in enumerate(ranks)) for i in range(2)]
    return Example(Prompt("p"), tuple(Response("ab"[i], float(i), "", said[i]) for i in range(2)))


def test_real_raters_are_drawn_and_nothing_else_is_used() -> None:
    example = rated((1, 2), (1, 2), (2, 1))
    alone = {score_of(RaterLabels(1).of(example, seed))["a"] for seed in range(20)}
    assert alone == {0.0, 1.0}
    assert score_of(RaterLabels(3).of(example, 0))["a"] == pytest.approx(2 / 3)
    for seed in range(20):
        first, pair = (score_of(RaterLabels(r).of(example, seed))["a"] for r in (1, 2))
        assert pair in (first, 0.5)


def test_ratings_of_pairs_count_within_their_own_judgement() -> None:
    ratings = [("r", -1.0, (0, 1)), ("r", -2.0, (0, 1)), ("r", -2.0, (1, 2)), ("r", -1.0, (1, 2))]
    responses = [
        Response("a", 0, "", (Rating(*ratings[0]),)),
        Response("b", 0, "", (Rating(*ratings[1]), Rating(*ratings[2]))),
        Response("c", 0, "", (Rating(*ratings[3]),)),
    ]
    order = said_by(Example(Prompt("p"), tuple(responses)))["r"]
    assert order == {(0, 1): 1, (1, 0): -1, (1, 2): -1, (2, 1): 1}


def test_the_fewest_raters_of_a_prompt_bound_a_study() -> None:
    assert fewest_raters(MemoryExamples([rated((1, 2), (2, 1)), rated((1, 2))])) == 1
    assert fewest_raters(examples(3)) == 0


def test_equal_scores_leave_no_agreement_to_assume() -> None:
    with pytest.raises(PoolError, match="unequal scores"):
        rater_error(examples(3, 1.0, 1.0), 0.75)


@pytest.mark.parametrize(("value", "found"), [
    ([{"rater": "a", "rank": 2}, {"rater": "b", "rating": 4, "rank": None}], (("a", -2.0), ("b", 4.0))),
    ([4, 5], ()), ({"a": 1}, ()), ([{"rater": "a"}], ()), ([{"rater": "a", "rank": float("nan")}], ()),
])  # fmt: skip
def test_ratings_are_read_where_they_are_ours_and_let_be_otherwise(
    value: object, found: tuple[tuple[str, float], ...]
) -> None:
    assert tuple((each.rater, each.worth) for each in ratings_of(value)) == found


def test_ratings_come_back_from_disk_and_plain_rows_stay_as_they_were(tmp_path: Path) -> None:
    example = rated((1, 2), (2, 1))
    assert unpack_responses(pack_responses(example.responses))[0] == example.responses
    assert pack_responses([Response("a", 1.0, "s")]) == '[["a", 1.0, "s"]]'
