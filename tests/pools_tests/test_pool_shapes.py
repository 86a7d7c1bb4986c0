"""Every published shape says what it was meant to say, however its columns are arranged, or is refused."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pool_shapes import SHAPES, Row, Shape, Truth

from base.errors import PoolError
from pools.config import PoolConfig
from pools.formats.table import FORMATS
from pools.readers import MemorySource
from pools.report import PoolReport
from pools.sources import assemble
from pools.types import Pool

KNOWN = {name for format in FORMATS.values() for group in format.needs for name in group}
NULLS = sorted(KNOWN - {"message_tree_id"}) + ["score", "reward", "tools", "images", "name"]

words = st.text(st.sampled_from("abcdefXYZ 25⁵{[<|:\n'\"\\é"), min_size=1, max_size=20)
texts = st.tuples(st.integers(0, 99), words).map(lambda pair: f"w{pair[0]} {pair[1]} end")
truths = st.lists(texts, min_size=3, max_size=5, unique_by=str.strip).map(
    lambda found: Truth(found[0], tuple(found[1:]))
)
TRUTH = Truth("Why is the sky blue?", ("Air scatters blue light most.", "It is the sea.", "No idea."))


def loaded(rows: list[Row], **options: Any) -> tuple[Pool, PoolReport]:
    return assemble(MemorySource(rows, "rows"), None, PoolConfig(**options), seed=0)


def says(pool: Pool, truth: Truth, shape: Shape) -> bool:
    """Whether the pool holds this one prompt with these answers in this order."""
    if len(pool.train) != 1:
        return False
    example = pool.train[0]
    content = example.prompt.content
    asked = content if isinstance(content, str) else content[-1].content
    right = (
        f"POST: {truth.prompt}\n\nTL;DR:" in asked
        if shape.format in ("summaries", "summary_ratings")
        else asked.strip() == truth.prompt.strip()
    )
    ranked = sorted(example.responses, key=lambda response: -response.score)
    scores = [response.score for response in ranked]
    wanted = truth.answers if shape.all else truth.pair
    found = [response.text.strip() for response in ranked]
    return right and found == [text.strip() for text in wanted] and len(set(scores)) == len(scores)


def test_every_format_has_a_shape() -> None:
    assert {shape.format for shape in SHAPES.values()} == set(FORMATS) - {"prompts"}


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_says_what_it_means(name: str) -> None:
    shape = SHAPES[name]
    pool, report = loaded(shape.rows(TRUTH), on_bad_row="refuse")
    assert (report.format, report.error) == (shape.format, "")
    assert says(pool, TRUTH, shape)


@pytest.mark.parametrize("name", SHAPES)
def test_the_same_pool_comes_of_the_format_by_name(name: str) -> None:
    shape = SHAPES[name]
    rows = shape.rows(TRUTH)
    assert loaded(rows, format=shape.format)[0] == loaded(rows)[0]


def renamed(row: Row, shape: Shape, choose: random.Random) -> Row:
    """Each column whose name may be another under one of those names."""
    new = {name: choose.choice(names) for name, names in shape.others.items()}
    if shape.rename is not None:
        new[shape.rename[0]] = choose.choice(shape.rename[1])
    return {new.get(name, name): value for name, value in row.items()}


def encoded(row: Row, choose: random.Random) -> Row:
    """Some or all columns that are no texts as texts, in JSON or as Python prints them."""
    spell = choose.choice([json.dumps, repr])
    return {
        name: value if value is None or isinstance(value, str) or choose.random() < 0.5 else spell(value)
        for name, value in row.items()
    }


def arranged(rows: list[Row], shape: Shape, seed: int) -> list[Row]:
    """The rows with columns renamed, null-extended, shuffled, and some of them spelt as text."""
    choose, found = random.Random(seed), []
    for row in rows:
        row = renamed(row, shape, random.Random(seed))
        if choose.random() < 0.5:
            row = encoded(row, choose)
        nulls = choose.sample(NULLS, choose.choice([0, 5, len(NULLS)]))
        items = [*row.items(), *((name, None) for name in nulls if name not in row)]
        choose.shuffle(items)
        found.append(dict(items))
    return found


@pytest.mark.parametrize(
    "name", sorted(set(SHAPES) - {"right and wrong"})
)  # refused where both lists are JSON
def test_however_columns_are_arranged_it_is_read(name: str) -> None:
    shape = SHAPES[name]
    for seed in range(20):
        rows = arranged(shape.rows(TRUTH), shape, seed)
        pool, report = loaded(rows, on_bad_row="refuse")
        assert not report.error and says(pool, TRUTH, shape), rows


@pytest.mark.parametrize("name", SHAPES)
@settings(max_examples=25, deadline=None)
@given(truth=truths, seed=st.integers(0, 10**6))
def test_whatever_texts_say_it_is_the_truth_or_a_refusal(name: str, truth: Truth, seed: int) -> None:
    shape = SHAPES[name]
    rows = arranged(shape.rows(truth), shape, seed)
    try:
        pool, report = loaded(rows)
    except PoolError as error:
        assert any(str(each) in str(error) for row in rows for each in row), error
        return
    if pool.train:
        assert says(pool, truth, shape), (rows, pool.train)
    else:
        assert report.counts


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if shape.rename])
def test_a_prompt_under_an_unknown_name_is_refused_by_the_columns(name: str) -> None:
    shape = SHAPES[name]
    assert shape.rename is not None
    rows = [
        {"stem" if key == shape.rename[0] else key: value for key, value in row.items()}
        for row in shape.rows(TRUTH)
    ]
    with pytest.raises(PoolError, match="stem"):
        loaded(rows)
