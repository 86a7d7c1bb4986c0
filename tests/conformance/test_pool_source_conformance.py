"""What every source of pool rows promises, its in-memory twin included."""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pools.config import PoolConfig
from pools.readers import DatasetSource, MemorySource, ParquetSource, PoolSource, TextSource
from pools.sources import assemble

Rows = list[dict[str, Any]]
Build = Callable[[Rows, Path], PoolSource]


def example(number: int) -> dict[str, Any]:
    turns = [{"role": "user", "content": f"Question {number}, in two lines:\nwhy \u2192 é?"}]
    responses = [
        {"text": f"answer {number} {j}", "score": j / 4 - number, "source": f"s{j}"}
        for j in range(1 + number % 3)
    ]
    return {"prompt": turns, "domain": "abc"[number % 3], "part": "train", "responses": responses}


ROWS = [example(number) for number in range(2500)]


def jsonl(rows: Rows, folder: Path) -> PoolSource:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return TextSource(path)


def jsonl_gz(rows: Rows, folder: Path) -> PoolSource:
    path = folder / "rows.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\r\n" for row in rows)
    return TextSource(path)


def parquet(rows: Rows, folder: Path) -> PoolSource:
    import pyarrow
    from pyarrow.parquet import write_table

    path = folder / "rows.parquet"
    write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=700)
    return ParquetSource(path)


def saved_dataset(rows: Rows, folder: Path) -> PoolSource:
    import datasets

    parts = {"all": rows, "few": rows[:1]}
    splits = datasets.DatasetDict({name: datasets.Dataset.from_list(part) for name, part in parts.items()})
    splits.save_to_disk(str(folder / "saved"))
    return DatasetSource(str(folder / "saved"), split="all")


def memory(rows: Rows, folder: Path) -> PoolSource:
    return MemorySource(rows)


@pytest.fixture(params=[memory, jsonl, jsonl_gz, parquet, saved_dataset], scope="module")
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PoolSource]:
    build: Build = request.param
    yield build(ROWS, tmp_path_factory.mktemp("source"))


def test_rows_come_whole_in_order_and_numbered_from_one(source: PoolSource):
    rows = list(source.rows())
    assert [row.line for row in rows] == list(range(1, len(ROWS) + 1))
    assert [row.value for row in rows] == ROWS
    assert all(row.flaw is None for row in rows)


def test_each_call_starts_again(source: PoolSource):
    begun = source.rows()
    first = [next(begun).value for _ in range(3)]
    assert first == [row.value for row in list(source.rows())[:3]] == ROWS[:3]


def test_rows_stream(source: PoolSource):
    rows = source.rows()
    next(rows)
    assert source.fraction() < 1


def test_the_fraction_read_grows_to_one(source: PoolSource):
    seen = [source.fraction() for _ in source.rows()]
    assert seen == sorted(seen)
    assert all(0 <= fraction <= 1 for fraction in seen)
    assert source.fraction() == pytest.approx(1.0)


def test_the_size_is_about_that_of_the_text(source: PoolSource):
    """These rows repeat themselves, which Parquet and gzip make more of than of a real pool."""
    text = sum(len(json.dumps(row)) for row in ROWS)
    assert text / 4 < source.size() < 2 * text


def test_the_label_is_never_empty(source: PoolSource):
    assert source.label


def test_every_source_gives_the_same_pool(source: PoolSource):
    config = PoolConfig(name="one", held_out_prompts=40)
    pool, report = assemble(source, None, config, seed=3)
    twin, _ = assemble(MemorySource(ROWS), None, config, seed=3)
    assert pool == twin
    assert len(pool.held_out) == 40
    assert report.rows == len(ROWS)
    assert not report.counts
