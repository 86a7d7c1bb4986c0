"""What the demo grammar promises of its prompts."""

from collections import Counter

import pytest

from base.errors import PoolError
from pools.demo.grammar import FRAMES, TOPICS, make_prompts
from pools.demo.verifier import kept, score


def test_prompts_are_distinct_and_parts_disjoint() -> None:
    train, held_out = make_prompts(train=600, held_out=96, seed=0)
    assert (len(train), len(held_out)) == (600, 96)
    assert len({prompt.key for prompt in train + held_out}) == 696


def test_same_seed_same_prompts() -> None:
    first, again = (make_prompts(train=50, held_out=5, seed=7) for _ in range(2))
    assert first == again
    assert [p.meta for p in first[0]] == [p.meta for p in again[0]]
    assert make_prompts(train=50, held_out=5, seed=8) != first


def test_more_held_out_prompts_leave_the_train_prompts_alone() -> None:
    assert make_prompts(train=50, held_out=5, seed=1)[0] == make_prompts(train=50, held_out=40, seed=1)[0]


def test_every_family_appears_about_equally_often() -> None:
    train, held_out = make_prompts(train=600, held_out=96, seed=0)
    for part in (train, held_out):
        counts = Counter(prompt.domain for prompt in part)
        assert set(counts) == set(FRAMES)
        assert max(counts.values()) - min(counts.values()) <= 3


def test_prompts_vary_in_topic_and_stay_short() -> None:
    train, _ = make_prompts(train=600, held_out=0, seed=0)
    assert len(FRAMES) >= 15
    assert sum(any(topic in prompt.text for prompt in train) for topic in TOPICS) >= 60
    assert all(len(prompt.text.split()) <= 45 for prompt in train)


def test_each_prompt_states_one_to_three_constraints_that_never_clash() -> None:
    train, _ = make_prompts(train=600, held_out=0, seed=0)
    length = {"sentences", "max_sentences", "max_words", "bullets"}
    for prompt in train:
        kinds = [constraint["kind"] for constraint in prompt.meta["constraints"]]
        assert 1 <= len(kinds) <= 3
        assert len(set(kinds)) == len(kinds)
        assert len(length & set(kinds)) <= 1
        assert not {"lower", "upper"} <= set(kinds)


def test_constraints_are_told_in_the_prompt() -> None:
    train, _ = make_prompts(train=600, held_out=0, seed=0)
    for prompt in train:
        for constraint in prompt.meta["constraints"]:
            if "word" in constraint:
                assert f'"{constraint["word"]}"' in prompt.text


def test_every_kind_can_be_kept() -> None:
    answers = {
        "sentences": {1: "One.", 2: "One. Two.", 3: "One. Two. Three."},
        "bullets": {n: "- so\n" * n for n in (2, 3, 4)},
    }
    plain = {"max_sentences": "Yes.", "max_words": "yes", "ending": "yes?!", "without": "yes", "lower": "yes"}
    train, _ = make_prompts(train=600, held_out=0, seed=0)
    for constraint in (c for prompt in train for c in prompt.meta["constraints"]):
        kind = constraint["kind"]
        if kind in answers:
            assert kept(constraint, answers[kind][constraint["count"]]) == 1.0
        elif kind in ("include", "opening"):
            assert kept(constraint, constraint["word"]) == 1.0
        elif kind == "ending":
            assert kept(constraint, "yes" + constraint["mark"]) == 1.0
        else:
            assert kept(constraint, plain.get(kind, "YES")) == 1.0


def test_asking_for_more_than_the_grammar_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    only = make_prompts(train=1, held_out=0, seed=0)[0][0]
    monkeypatch.setattr("pools.demo.grammar._prompt", lambda rng, frame: only)
    with pytest.raises(PoolError, match="gave 1 distinct prompts of 3"):
        make_prompts(train=2, held_out=1, seed=0)


def test_the_prompt_itself_is_no_good_answer() -> None:
    train, _ = make_prompts(train=600, held_out=0, seed=0)
    assert sum(score(prompt, prompt.text) for prompt in train) / len(train) < 0.7
