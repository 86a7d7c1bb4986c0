"""Which responses are labelled: those that stand for all, or by a judge's margins; never by the labels."""

from __future__ import annotations

import json
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import PoolError
from pools.config import PoolConfig
from pools.response_choice import CHOICES, check_proxy, in_order, judge_agreement, text_vectors
from pools.sources import load_pool
from pools.stored import pack_responses, unpack_responses
from pools.subset import draw, shuffled
from pools.types import Example, MemoryExamples, Prompt, Response

CATS = "the cat sat on the mat all day", "the cat sat on the mat all night", "the cat sat on the mat"
DOGS = "a dog ran through wet grass", "a dog ran through tall grass"


def example(*texts: str, judged: tuple[float, ...] = (), name: str = "p") -> Example:
    scores = judged or (None,) * len(texts)
    rows = enumerate(zip(texts, scores, strict=True))
    return Example(Prompt(name), tuple(Response(t, float(i), judge_score=s) for i, (t, s) in rows))


def chosen(of: Example, choice: str, count: int, seed: int = 0) -> set[str]:
    (found,) = draw([of], prompts=1, responses=count, seed=seed, choice=choice)  # type: ignore[arg-type]
    return {response.text for response in found.responses}


def test_spread_takes_one_of_each_group_the_larger_first() -> None:
    of = example(*CATS, *DOGS)
    for seed in range(5):
        first, pair = (chosen(of, "spread", count, seed) for count in (1, 2))
        assert first < set(CATS) and first < pair and len(pair & set(DOGS)) == 1
    at_random = [len(chosen(of, "random", 2, seed) & set(DOGS)) == 1 for seed in range(50)]
    assert 10 < sum(at_random) < 45


@given(st.lists(st.text("abc ", min_size=1).filter(str.strip), min_size=2, max_size=6, unique=True))
def test_spread_stands_for_all_as_well_as_a_greedy_choice_is_bound_to(texts: list[str]) -> None:
    """At least 1 - 1/e of the best that any two can do (Nemhauser et al. 1978)."""
    vectors = text_vectors(texts)
    similar = vectors @ vectors.T
    order = in_order(example(*texts), "spread", range(len(texts)))

    def covered(pair: tuple[int, ...]) -> float:
        return float(similar[list(pair)].max(axis=0).sum())

    best = max(map(covered, combinations(range(len(texts)), 2)))
    assert covered(tuple(order[:2])) >= (1 - 1 / np.e) * best - 1e-9
    assert sorted(order) == list(range(len(texts)))


def test_vectors_hold_runs_of_characters_whatever_case_and_white_space() -> None:
    vectors = text_vectors(["The  cat\n", "the cat", "no", "völlig anders"])
    assert np.allclose((vectors**2).sum(axis=1), 1)
    assert vectors[0] @ vectors[1] == pytest.approx(1) and vectors[0] @ vectors[3] == 0
    # abcdef and abcdeg hold two runs of five each and share one.
    one, two = text_vectors(["abcdef", "abcdeg"])
    assert one @ two == pytest.approx(1 / 2)


def test_close_and_far_go_by_the_judges_margins() -> None:
    of = example("a", "b", "c", "d", judged=(0.0, 1.0, 0.1, 0.5))
    for order in permutations(range(4)):
        close, far = (in_order(of, choice, order) for choice in ("close", "far"))
        assert set(close[:2]) == {0, 2} and close[2:] == [3, 1]
        assert set(far[:2]) == {0, 1} and far[2:] == [3, 2]


def test_labels_do_not_decide_what_is_labelled() -> None:
    of = example(*CATS, *DOGS, judged=(3.0, 1.0, 2.0, 5.0, 4.0))
    other = Example(
        of.prompt,
        tuple(Response(r.text, -r.score, judge_score=r.judge_score) for r in of.responses),
    )
    for choice in CHOICES:
        for count in (1, 2, 3, 4):
            assert chosen(of, choice, count) == chosen(other, choice, count)


@pytest.mark.parametrize("choice", CHOICES)
def test_choices_are_nested_and_come_back_by_falling_score(choice: str) -> None:
    of = example(*CATS, *DOGS, judged=(3.0, 1.0, 2.0, 5.0, 4.0))
    kept: set[str] = set()
    for count in range(1, 6):
        now = chosen(of, choice, count, seed=3)
        assert kept < now and len(now) == count
        kept = now
        (found,) = draw([of], prompts=1, responses=count, seed=3, choice=choice)  # type: ignore[arg-type]
        scores = [response.score for response in found.responses]
        assert scores == sorted(scores, reverse=True)


def test_ties_keep_the_seeded_order() -> None:
    of = example("aaaaaa", "bbbbbb", "cccccc", judged=(1.0, 1.0, 1.0))
    for seed in range(4):
        for choice in CHOICES:
            assert in_order(of, choice, shuffled(of, seed)) == shuffled(of, seed)


def test_of_responses_compared_in_part_each_was_compared_with_one_before() -> None:
    of = example("a", "b", "c", "d", judged=(0.0, 1.0, 0.1, 0.5))
    partly = Example(of.prompt, of.responses, ((0, 2), (2, 1), (1, 3)))
    (found,) = draw([partly], prompts=1, responses=2, seed=0, choice="far")
    assert found.compared and len(found.compared) == 1


def test_a_missing_judges_score_is_named() -> None:
    of = Example(Prompt("why is it so"), (Response("a", 1.0, judge_score=1.0), Response("b", 0.0)))
    with pytest.raises(PoolError, match="response 2 of the prompt 'why is it so' has no judge_score"):
        chosen(of, "close", 1)
    assert chosen(of, "spread", 2) == {"a", "b"}


def test_a_judge_that_repeats_the_labels_is_refused() -> None:
    same = MemoryExamples([example("a", "b", "c", judged=(1.0, 2.0, 9.0))])
    other = MemoryExamples([*same, example("a", "b", "c", judged=(2.0, 1.0, 9.0), name="q")])
    assert judge_agreement(other) == 5 / 6 == check_proxy(other, "far")
    with pytest.raises(PoolError, match='chosen by "far", but judge_score orders every pair'):
        check_proxy(same, "far")
    with pytest.raises(PoolError, match="no two responses"):
        judge_agreement(MemoryExamples([example("a", "b", judged=(1.0, 1.0))]))


def test_judges_scores_are_read_and_come_back_from_disk(tmp_path: Path) -> None:
    rows = [
        {"text": "a", "score": 1.0, "source": "m", "judge_score": 0.5, "judge_score_se": 0.1},
        {"text": "b", "score": 0.0, "source": "m", "judge_score": "A>B"},  # another meaning of the name
    ]
    (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": "p", "responses": rows}))
    pool, _ = load_pool(PoolConfig(path=str(tmp_path / "p.jsonl")), seed=0)
    one, two = pool.train[0].responses
    assert (one.judge_score, one.judge_score_se, two.judge_score) == (0.5, 0.1, None)
    assert unpack_responses(pack_responses((one, two)))[0] == (one, two)
    assert pack_responses([two]) == '[["b", 0.0, "m"]]'
