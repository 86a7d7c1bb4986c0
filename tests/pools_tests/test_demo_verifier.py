"""The demo verifier against judgements made by hand."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from base.errors import RewardError
from pools.demo.grammar import make_prompts
from pools.demo.requests import EXAMPLES
from pools.demo.verifier import bullets, kept, score, sentences
from pools.types import Prompt


def prompt(*constraints: dict[str, Any]) -> Prompt:
    return Prompt("Write.", meta={"constraints": list(constraints)})


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("One", 1),
        ("One. Two! Three?", 3),
        ("Wait... what?! Yes", 3),
        ('He said "no." Then he left.', 2),
        ("It cost 3.50 euros.", 1),
        ("1. First thing.\n2. Second thing.", 2),
        ("... !", 0),
    ],
)
def test_sentences(text: str, count: int) -> None:
    assert sentences(text) == count


@pytest.mark.parametrize(
    ("text", "count"),
    [("none here", 0), ("- a\n- b", 2), ("* a\n\n  • b\n1. c\n2) d", 4), ("-a\n-\nwell - done", 0)],
)
def test_bullets(text: str, count: int) -> None:
    assert bullets(text) == count


@pytest.mark.parametrize(
    ("constraint", "text", "credit"),
    [
        ({"kind": "sentences", "count": 2}, "One. Two.", 1.0),
        ({"kind": "sentences", "count": 2}, "One. Two. Three.", 0.5),
        ({"kind": "sentences", "count": 2}, "One.", 0.5),
        ({"kind": "sentences", "count": 2}, "One. Two. Three. Four.", 0.0),
        ({"kind": "max_sentences", "count": 2}, "One.", 1.0),
        ({"kind": "max_sentences", "count": 2}, "One. Two. Three.", 0.5),
        ({"kind": "max_words", "count": 4}, "one two three four", 1.0),
        ({"kind": "max_words", "count": 4}, "one two three four five", 0.75),
        ({"kind": "max_words", "count": 4}, "a b c d e f g h i j", 0.0),
        ({"kind": "bullets", "count": 2}, "- a\n- b", 1.0),
        ({"kind": "bullets", "count": 2}, "- a", 0.5),
        ({"kind": "include", "word": "salt"}, "Some SALT, please", 1.0),
        ({"kind": "include", "word": "salt"}, "A salty sea", 0.0),
        ({"kind": "opening", "word": "Today"}, '"Today, we rest."', 1.0),
        ({"kind": "opening", "word": "Today"}, "We rest today.", 0.0),
        ({"kind": "ending", "mark": "?"}, 'Who said "why?" ', 1.0),
        ({"kind": "ending", "mark": "!"}, "Stop.", 0.0),
        ({"kind": "without", "mark": ","}, "No pause here.", 1.0),
        ({"kind": "without", "mark": ","}, "Well, no.", 0.0),
        ({"kind": "lower"}, "all small, 3 of them.", 1.0),
        ({"kind": "lower"}, "One capital word", 0.75),
        ({"kind": "lower"}, "A B C D E", 0.0),
        ({"kind": "upper"}, "LOUD, 3 TIMES", 1.0),
        ({"kind": "upper"}, "Loud", 0.0),
    ],
)
def test_credit(constraint: dict[str, Any], text: str, credit: float) -> None:
    assert kept(constraint, text) == pytest.approx(credit)


def test_score_is_the_mean_over_constraints() -> None:
    both = prompt({"kind": "include", "word": "salt"}, {"kind": "sentences", "count": 1})
    assert score(both, "Add salt. Stir.") == 0.5


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_response_earns_nothing(text: str) -> None:
    assert score(prompt({"kind": "lower"}, {"kind": "max_words", "count": 5}), text) == 0.0


def test_a_prompt_without_constraints_cannot_be_scored() -> None:
    with pytest.raises(RewardError, match="no meta"):
        score(Prompt("Hello there."), "Hi")


def test_an_unknown_constraint_is_named_with_the_choices() -> None:
    with pytest.raises(RewardError, match="'rhyme'.*bullets"):
        score(prompt({"kind": "rhyme"}), "Hi")


@given(st.integers(0, 47), st.text(max_size=200))
def test_scores_of_any_text_lie_in_the_unit_interval(index: int, text: str) -> None:
    assert 0.0 <= score(PROMPTS[index], text) <= 1.0


PROMPTS = make_prompts(EXAMPLES, train=48, held_out=0, seed=3)[0]
