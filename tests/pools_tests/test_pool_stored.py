"""A pool that is kept on disk is the pool that memory would hold, flaw by flaw and bit by bit."""

from __future__ import annotations

import pickle
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from base.errors import PoolError
from pools.config import PoolConfig
from pools.readers import MemorySource
from pools.report import PoolReport
from pools.sources import assemble, load_pool
from pools.stored import StoredExamples
from pools.types import Pool
from search.trials.design_point import digest

ON_DISK, IN_MEMORY = 0.0, 1e6


def rows(count: int, seed: int = 0) -> list[Any]:
    """Lists of responses with every flaw that a row can have, prompts that repeat, and prompts held out."""
    draw = random.Random(seed)
    found: list[Any] = []
    for number in range(count):
        name = f"prompt {draw.randrange(count)}" if draw.random() < 0.3 else f"Prompt  {number}"
        turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": name}]
        scores = [draw.random() * 10 ** -draw.randrange(5) for _ in range(draw.randrange(5))]
        responses: list[Any] = [
            {"text": f"answer\u2028{draw.randrange(4)}", "score": score, "source": "ä"} for score in scores
        ]
        responses += [{"text": " ", "score": 1}, {"text": "x", "score": "high"}][: draw.randrange(3)]
        row: dict[str, Any] = {"prompt": draw.choice([name, turns]), "responses": responses}
        row |= {"domain": draw.choice("ab"), "meta": {"n": number, "deep": [1.5, None]}}
        if draw.random() < 0.2:
            row["part"] = "held_out"
        found.append(draw.choice([None, {"prompt": ""}, {"prompt": 3}]) if draw.random() < 0.1 else row)
    return [{"prompt": "the first", "responses": [{"text": "a", "score": 1.0}]}, *found]


def pairs(count: int) -> list[Any]:
    """Comparisons, of which several speak of one prompt and of one response."""
    draw = random.Random(1)
    return [
        {"prompt": f"p{draw.randrange(count // 3)}", "chosen": f"r{draw.randrange(4)}", "rejected": "bad"}
        for _ in range(count)
    ]


def both(tmp_path: Path, values: list[Any], **options: Any) -> list[tuple[Pool, PoolReport]]:
    """The pool of these rows in memory, then from disk."""
    held_out = MemorySource(options.pop("held_out", []), "extra") if "held_out" in options else None
    made = []
    for limit in (IN_MEMORY, ON_DISK):
        config = PoolConfig(stream_above=limit, **options)
        source = MemorySource(values)
        made.append(assemble(source, held_out, config, seed=3, min_responses=2, store=tmp_path / "pool"))
    assert isinstance(made[1][0].train, StoredExamples) and isinstance(made[0][0].train, tuple)
    return made


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"held_out_prompts": 7},
        {"held_out": rows(12, seed=5)},
        {"held_out": rows(9), "held_out_prompts": 2},
    ],
)
@pytest.mark.parametrize("make", [rows, pairs])
def test_disk_and_memory_give_the_same_pool_and_report(
    tmp_path: Path, options: dict[str, Any], make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pools.spilled.PART_BYTES", 1000)  # many parts, few prompts in each
    (memory, wanted), (disk, found) = both(tmp_path, make(200), **options)
    assert list(disk.train) == list(memory.train)
    assert disk.held_out == memory.held_out
    assert found.lines() == wanted.lines() and asdict(found) == asdict(wanted)
    assert len(found.counts) > 3 or make is pairs
    assert digest([asdict(each) for each in disk.train]) == digest([asdict(each) for each in memory.train])


def test_no_more_can_be_held_out_than_there_is(tmp_path: Path) -> None:
    for limit in (IN_MEMORY, ON_DISK):
        config = PoolConfig(stream_above=limit, held_out_prompts=99)
        with pytest.raises(PoolError, match="held_out_prompts is 99, but there are 6 prompts to hold out"):
            assemble(MemorySource(pairs(18)), None, config, seed=0, store=tmp_path / "pool")


def test_examples_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    (memory, _), (disk, _) = both(tmp_path, rows(1800), held_out_prompts=5)
    train, stored = memory.train, disk.train
    assert isinstance(stored, StoredExamples)
    assert len(stored) == len(train) > 512  # more than two batches
    places = [len(train) - 1, 0, 300, 1]
    assert stored.take(places) == train.take(places) == tuple(train[place] for place in places)
    assert stored[-1] == train[-1] and stored[3:9:2] == train[3:9:2]
    with pytest.raises(IndexError):
        stored[len(train)]
    assert list(stored.keys()) == list(train.keys())
    assert list(stored.texts()) == list(train.texts())
    assert list(stored.sizes()) == list(train.sizes()) and min(train.sizes()) == 2
    assert [path.name for path in (tmp_path / "pool").iterdir()] == ["train.arrow"]


def test_it_travels_as_a_path(tmp_path: Path) -> None:
    (_, _), (disk, _) = both(tmp_path, rows(900))
    data = pickle.dumps(disk.train)
    assert len(data) < 500
    assert list(pickle.loads(data)) == list(disk.train)
    (tmp_path / "pool" / "train.arrow").unlink()
    with pytest.raises(PoolError, match="cannot be read .* on the cluster's head"):
        pickle.loads(data)[0]


def test_a_disk_that_takes_no_more_is_told(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a", "responses": [{"text": "b", "score": 1}]}')
    with pytest.raises(PoolError, match=r"cannot be kept on disk in .*p.jsonl/pool: .*stream_above"):
        load_pool(PoolConfig(path=str(path), stream_above=0), seed=0, store=path / "pool")


def test_the_limit_is_of_the_files(tmp_path: Path) -> None:
    """A pool of 60 kB is kept on disk where more than 50 are too many, and only in a study."""
    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "a", "responses": [{"text": "%s", "score": 1}]}' % ("x" * 60_000))
    for limit, store, kind in (
        (50 / 1024, tmp_path / "pool", StoredExamples),
        (70 / 1024, tmp_path / "pool", tuple),
        (0.0, None, tuple),
    ):
        config = PoolConfig(path=str(path), stream_above=limit)
        assert isinstance(load_pool(config, seed=0, store=store)[0].train, kind)
