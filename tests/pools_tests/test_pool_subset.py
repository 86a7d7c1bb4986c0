"""Subsets: nested, seeded, and blind to the order of the file."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import PoolError
from pools.subset import draw, order
from pools.types import Example, Prompt, Response


def make(prompts: int, responses: int) -> list[Example]:
    """Distinct prompts, responses listed best first, some scores tied."""
    return [
        Example(
            Prompt(f"prompt {i}"),
            tuple(Response(f"answer {j}", float(-(j // 2)), source="m") for j in range(responses)),
        )
        for i in range(prompts)
    ]


def shuffled(examples: list[Example], seed: int) -> list[Example]:
    """The same pool written in another order, responses too."""
    rng = random.Random(seed)
    mixed = [Example(e.prompt, tuple(rng.sample(e.responses, len(e.responses)))) for e in examples]
    rng.shuffle(mixed)
    return mixed


sizes = st.tuples(st.integers(1, 30), st.integers(1, 6))
seeds = st.integers(-(2**40), 2**40)


@given(sizes, seeds)
def test_the_order_holds_every_prompt_once(size: tuple[int, int], seed: int):
    examples = make(*size)
    assert sorted(order(examples, seed)) == list(range(len(examples)))


@given(sizes, seeds, st.data())
def test_nested_in_prompts_and_in_responses(size: tuple[int, int], seed: int, data: st.DataObject):
    examples = make(*size)
    n = data.draw(st.integers(1, size[0]))
    k = data.draw(st.integers(1, size[1]))
    small = draw(examples, prompts=n, responses=k, seed=seed)
    large = draw(examples, prompts=size[0], responses=size[1], seed=seed)
    assert [e.prompt for e in small] == [e.prompt for e in large[:n]]
    for k_larger in range(k, size[1] + 1):
        wider = draw(examples, prompts=n, responses=k_larger, seed=seed)
        for narrow, wide in zip(small, wider, strict=True):
            assert len(narrow.responses) == k
            assert set(narrow.responses) <= set(wide.responses)


@given(sizes, seeds, st.integers(0, 100), st.data())
def test_blind_to_the_order_of_the_file(size: tuple[int, int], seed: int, mix: int, data: st.DataObject):
    examples = make(*size)
    asked = {"prompts": data.draw(st.integers(1, size[0])), "responses": data.draw(st.integers(1, size[1]))}
    assert draw(examples, **asked, seed=seed) == draw(shuffled(examples, mix), **asked, seed=seed)


@given(sizes, seeds)
def test_responses_come_by_falling_score(size: tuple[int, int], seed: int):
    for example in draw(make(*size), prompts=size[0], responses=size[1], seed=seed):
        scores = [response.score for response in example.responses]
        assert scores == sorted(scores, reverse=True)


def test_the_first_response_drawn_is_not_the_first_of_the_file():
    firsts = [e.responses[0].text for e in draw(make(400, 4), prompts=400, responses=1, seed=1)]
    for j in range(4):
        assert 60 < firsts.count(f"answer {j}") < 140  # 100 expected, standard deviation 8.7


def test_seeds_differ_and_the_order_is_the_same_on_every_machine():
    examples = make(8, 4)
    assert order(examples, 0) == [6, 1, 0, 4, 5, 2, 3, 7]  # worked out with sha256 by hand
    assert order(examples, 1) != order(examples, 0)
    drawn = draw(examples, prompts=2, responses=2, seed=0)
    assert [[r.text for r in e.responses] for e in drawn] == [
        ["answer 1", "answer 2"],
        ["answer 0", "answer 3"],
    ]


def test_an_order_that_is_given_is_followed():
    examples = make(6, 2)
    drawn = draw(examples, prompts=3, responses=2, seed=0, order=[4, 2, 5])
    assert [e.prompt.text for e in drawn] == ["prompt 4", "prompt 2", "prompt 5"]


@pytest.mark.parametrize("prompts", [0, 7])
def test_more_prompts_than_there_are(prompts: int):
    with pytest.raises(PoolError, match=f"{prompts} prompts were asked of a pool that has 6"):
        draw(make(6, 2), prompts=prompts, responses=1, seed=0)


@pytest.mark.parametrize("responses", [0, 3])
def test_more_responses_than_there_are(responses: int):
    with pytest.raises(
        PoolError, match=f"{responses} responses a prompt were asked.* has 2; .*min_responses"
    ):
        draw(make(6, 2), prompts=1, responses=responses, seed=0)
