"""Held-out prompts: marked, in a second file, or drawn; never shared with the train part."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from base.errors import PoolError
from pools.config import PoolConfig
from pools.readers import MemorySource
from pools.report import PoolReport
from pools.sources import assemble, load_pool
from pools.types import Example, Pool

FIXTURES = Path(__file__).parent / "fixtures"


def row(prompt: str, part: str = "", responses: int = 2) -> dict[str, Any]:
    answers = [{"text": f"answer {i}", "score": i} for i in range(responses)]
    return {"prompt": prompt, "part": part or None, "responses": answers}


def loaded(
    *rows: dict[str, Any], held_out: list[dict[str, Any]] | None = None, seed: int = 0, **settings: Any
) -> tuple[Pool, PoolReport]:
    second = None if held_out is None else MemorySource(held_out, "second")
    return assemble(MemorySource(rows, "first"), second, PoolConfig(**settings), seed=seed)


def texts(examples: tuple[Example, ...]) -> set[str]:
    return {example.prompt.text for example in examples}


def test_marked_rows_are_held_out():
    pool, report = loaded(row("a"), row("b", "held_out"), row("c", "train"))
    assert texts(pool.train) == {"a", "c"}
    assert texts(pool.held_out) == {"b"}
    assert not report.counts


def test_a_second_source_is_held_out_whatever_its_rows_say():
    pool, _ = loaded(row("a"), row("b"), held_out=[row("c"), row("d", "train")])
    assert texts(pool.train) == {"a", "b"}
    assert texts(pool.held_out) == {"c", "d"}


def test_a_shared_prompt_stays_held_out_and_its_train_row_goes():
    pool, report = loaded(row("Same  Prompt"), row("b"), held_out=[row("same prompt\n")])
    assert texts(pool.train) == {"b"}
    assert texts(pool.held_out) == {"same prompt\n"}
    assert report.counts == {"shared_with_held_out": 1}
    assert report.first[0].location == "first:1"


def test_held_out_prompts_need_no_responses():
    pool, report = loaded(row("a"), row("b", "held_out", responses=0), min_responses=2)
    assert len(pool.held_out) == 1
    assert not report.counts


def test_a_count_limits_what_is_marked_and_the_rest_is_not_trained_on():
    marked = [row(f"m{i}", "held_out") for i in range(10)]
    shared = [row(f"M{i}") for i in range(10)]
    pool, report = loaded(row("a"), *shared, *marked, held_out_prompts=4)
    assert texts(pool.train) == {"a"}
    assert len(pool.held_out) == 4
    assert report.counts == {"shared_with_held_out": 10}
    assert report.held_out_left_aside == 6
    assert "6 more prompts marked held out were left aside" in report.lines()


numbers = st.lists(st.integers(0, 40), min_size=1, unique=True)


@given(numbers, st.data(), st.integers(0, 2**32))
def test_a_count_is_drawn_from_the_pool_by_seed_alone(chosen: list[int], data: st.DataObject, seed: int):
    rows = [row(f"p{i}", responses=i % 4) for i in chosen]
    count = data.draw(st.integers(1, len(rows)))
    mixed = data.draw(st.permutations(rows))
    pool, _ = loaded(*rows, held_out_prompts=count, seed=seed, min_responses=0)
    again, _ = loaded(*mixed, held_out_prompts=count, seed=seed, min_responses=3)
    assert len(pool.held_out) == count
    assert texts(pool.held_out) == texts(again.held_out)
    assert texts(pool.held_out) | texts(pool.train) == {f"p{i}" for i in chosen}
    assert not texts(pool.held_out) & texts(pool.train)


def test_the_held_out_prompts_grow_with_their_count():
    rows = [row(f"p{i}") for i in range(50)]
    held = [texts(loaded(*rows, held_out_prompts=count)[0].held_out) for count in (5, 10, 20)]
    assert held[0] < held[1] < held[2]
    assert held[0] != texts(loaded(*rows, held_out_prompts=5, seed=1)[0].held_out)


@pytest.mark.parametrize("part", ["", "held_out"])
def test_more_held_out_prompts_than_there_are(part: str):
    with pytest.raises(PoolError, match="held_out_prompts is 9, but there are 2"):
        loaded(row("a", part), row("b", part), held_out_prompts=9)


def test_two_held_out_sources_exclude_each_other():
    with pytest.raises(ValidationError, match="held_out_path 'x.jsonl' and held_out_split 'test'"):
        PoolConfig(path="a", held_out_path="x.jsonl", held_out_split="test")


def test_two_files_of_different_formats():
    config = PoolConfig(
        path=str(FIXTURES / "hh_rlhf.jsonl"), held_out_path=str(FIXTURES / "shp.jsonl"), name="mixed"
    )
    pool, report = load_pool(config, seed=0)
    assert (len(pool.train), len(pool.held_out), pool.name) == (3, 2, "mixed")
    assert report.rows == 7


def test_splits_of_a_saved_data_set(tmp_path: Path):
    import datasets

    parts = {"train": [row("a"), row("b")], "test": [row("c", "train")]}
    saved = datasets.DatasetDict({name: datasets.Dataset.from_list(rows) for name, rows in parts.items()})
    saved.save_to_disk(str(tmp_path / "set"))
    pool, _ = load_pool(PoolConfig(path=str(tmp_path / "set"), held_out_split="test"), seed=0)
    assert texts(pool.train) == {"a", "b"}
    assert texts(pool.held_out) == {"c"}
    assert pool.name == "set"
    with pytest.raises(PoolError, match='no split "dev"; it holds test, train'):
        load_pool(PoolConfig(path=str(tmp_path / "set"), held_out_split="dev"), seed=0)

    saved["train"].save_to_disk(str(tmp_path / "one"))
    assert texts(load_pool(PoolConfig(path=str(tmp_path / "one")), seed=0)[0].train) == {"a", "b"}
    with pytest.raises(PoolError, match='no split "test"; it holds train'):
        load_pool(PoolConfig(path=str(tmp_path / "one"), split="test"), seed=0)


def test_too_few_to_hold_out_names_what_was_dropped() -> None:
    rows = [row(f"prompt {number}") for number in range(5)]
    with pytest.raises(PoolError, match=r"4, but there are 0 .* 5 x template_refuses: .*first:1: no system"):
        assemble(
            MemorySource(rows, "first"),
            None,
            PoolConfig(held_out_prompts=4),
            seed=0,
            refusal=lambda prompt: "no system",
        )
