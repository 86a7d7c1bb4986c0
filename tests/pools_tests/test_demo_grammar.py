"""What the demo's prompts promise: requests a model wrote, and constraints that a program can check."""

import random
from collections import Counter

import pytest

from base.errors import PoolError
from pools.demo.grammar import make_prompts
from pools.demo.requests import EXAMPLES, OPENINGS, few_shot, tidy
from pools.demo.verifier import kept, score
from pools.types import Prompt

MADE = {family: [f"{opening} the garden number {'very ' * i}old." for i in range(100)]
        for family, opening in OPENINGS.items()}  # fmt: skip


def made(train: int = 600, held_out: int = 0, seed: int = 0) -> tuple[list[Prompt], list[Prompt]]:
    return make_prompts(MADE, train=train, held_out=held_out, seed=seed)


def test_prompts_are_distinct_and_parts_disjoint() -> None:
    train, held_out = made(train=500, held_out=96)
    assert (len(train), len(held_out)) == (500, 96)
    assert len({prompt.key for prompt in train + held_out}) == 596


def test_same_seed_same_prompts() -> None:
    first, again = (made(train=50, held_out=5, seed=7) for _ in range(2))
    assert first == again
    assert [p.meta for p in first[0]] == [p.meta for p in again[0]]
    assert made(train=50, held_out=5, seed=8) != first


def test_more_held_out_prompts_leave_the_train_prompts_alone() -> None:
    assert made(train=50, held_out=5, seed=1)[0] == made(train=50, held_out=40, seed=1)[0]


def test_every_family_appears_equally_often() -> None:
    for part in made(train=504, held_out=96):
        assert set(Counter(prompt.domain for prompt in part).values()) == {len(part) // 6}


def test_each_prompt_states_one_to_three_constraints_that_never_clash() -> None:
    length = {"sentences", "max_sentences", "max_words", "bullets"}
    for prompt in made()[0]:
        kinds = [constraint["kind"] for constraint in prompt.meta["constraints"]]
        assert 1 <= len(kinds) <= 3
        assert len(set(kinds)) == len(kinds)
        assert len(length & set(kinds)) <= 1
        assert not {"lower", "upper"} <= set(kinds)


def test_constraints_are_told_in_the_prompt() -> None:
    for prompt in made()[0]:
        for constraint in prompt.meta["constraints"]:
            if "word" in constraint:
                assert f'"{constraint["word"]}"' in prompt.text


def test_every_kind_can_be_kept() -> None:
    answers = {
        "sentences": {1: "One.", 2: "One. Two."},
        "bullets": {n: "- so\n" * n for n in (2, 3)},
    }
    plain = {"max_sentences": "Yes.", "max_words": "yes", "ending": "yes?!", "without": "yes", "lower": "yes"}
    for constraint in (c for prompt in made()[0] for c in prompt.meta["constraints"]):
        kind = constraint["kind"]
        if kind in answers:
            assert kept(constraint, answers[kind][constraint["count"]]) == 1.0
        elif kind in ("include", "opening"):
            assert kept(constraint, constraint["word"]) == 1.0
        elif kind == "ending":
            assert kept(constraint, "yes" + constraint["mark"]) == 1.0
        else:
            assert kept(constraint, plain.get(kind, "YES")) == 1.0


def test_too_few_requests_are_refused() -> None:
    with pytest.raises(PoolError, match="48 requests cannot make the 49 prompts"):
        make_prompts(EXAMPLES, train=40, held_out=9, seed=0)


def test_the_prompt_itself_is_no_good_answer() -> None:
    train, _ = make_prompts(EXAMPLES, train=48, held_out=0, seed=0)
    assert sum(score(prompt, prompt.text) for prompt in train) / len(train) < 0.7


def test_our_own_requests_would_do() -> None:
    for family, requests in EXAMPLES.items():
        for request in requests:
            assert tidy(family, request.removeprefix(OPENINGS[family])) == request


@pytest.mark.parametrize(
    "line",
    ["", "it", "the 3 bears at home.", "a cat. Then tell me more.", "a long way home", 'a "quoted" word.',
     "how to kill a neighbour.", "a hat " * 8 + "now."],
)  # fmt: skip
def test_lines_that_make_no_request_are_dropped(line: str) -> None:
    assert tidy("describe", line) is None


def test_a_list_of_examples_ends_where_the_model_goes_on() -> None:
    text = few_shot("story", random.Random(0))
    assert text.endswith("\n5. Tell a story about")
    assert sum(request in text for request in EXAMPLES["story"]) == 4
    assert few_shot("story", random.Random(0)) == text
