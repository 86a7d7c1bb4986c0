"""A pool in several files is the pool of one file with all their rows, and a flaw is found where it lies."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow.parquet import write_table

from base.errors import PoolError
from pools.across import Cluster
from pools.config import PoolConfig
from pools.prompts import PromptFiles
from pools.readers import FilesSource, TextSource, open_source
from pools.sources import load_pool
from pools.types import Message, Prompt
from search.cluster.connection import visited
from search.config.load import load_config
from search.config.study import StudyConfig
from search.trials.design_point import digest


def example(number: int) -> dict[str, Any]:
    responses = [{"text": f"r{number}", "score": number / 7, "source": "m"}]
    return {"prompt": f"p{number}", "responses": responses, "domain": "ab"[number % 2]}


def jsonl(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Nine rows in three files of different kinds, two of them with a header, among other files."""
    rows, folder = [example(number) for number in range(9)], tmp_path / "garden"
    (folder / "deep").mkdir(parents=True)
    head = {"pool": {"name": "told", "description": "all of it"}}
    (folder / "a.jsonl").write_text(jsonl([head, *rows[:3], {"prompt": ""}]))
    with gzip.open(folder / "b.jsonl.gz", "wt") as file:
        file.write(jsonl([{"pool": {"name": "not this"}}, rows[0], *rows[3:6]]))
    write_table(pyarrow.Table.from_pylist(rows[6:]), folder / "deep" / "c.parquet")
    for name in ("_SUCCESS", ".d.jsonl", "_temporary.jsonl", "notes.txt"):
        (folder / name).write_text("not rows")
    return folder


@pytest.mark.parametrize("pattern", ["", "/", "/**/[abc].*"])
def test_a_folder_or_a_pattern_is_read_file_by_file(folder: Path, pattern: str) -> None:
    pool, report = load_pool(PoolConfig(path=f"{folder}{pattern}"), seed=0)
    (one := folder.parent / "one.jsonl").write_text(jsonl([example(number) for number in range(9)]))
    assert pool.train == load_pool(PoolConfig(path=str(one)), seed=0)[0].train
    assert (pool.name, pool.description, report.rows) == ("told", "all of it", 11)
    assert [str(found) for found in report.first] == [
        f"{folder}/a.jsonl:5",
        f"{folder}/b.jsonl.gz:2: first at {folder}/a.jsonl:2",
    ]


def test_disk_and_memory_agree_on_several_files(folder: Path, tmp_path: Path) -> None:
    read = [
        load_pool(PoolConfig(path=str(folder), stream_above=limit), seed=0, store=tmp_path / "store")
        for limit in (0, 1024)
    ]
    assert list(read[0][0].train) == list(read[1][0].train)
    assert asdict(read[0][1]) == asdict(read[1][1])


def test_the_share_read_is_that_of_all_files(folder: Path) -> None:
    source = open_source(str(folder))
    seen = [source.fraction() for _ in source.rows()]
    assert seen == sorted(seen) and 0 < seen[0] < seen[-1] <= source.fraction() == 1
    assert [row.line for row in source.rows()] == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 1, 2, 3]
    assert source.size() > sum(file.stat().st_size for file in folder.glob("[ab]*"))


@pytest.mark.parametrize(
    ("pattern", "name"), [("garden", "garden"), ("garden/*.jsonl", "garden"), ("*/b.*", "garden")]
)
def test_the_name_is_that_of_the_folder(tmp_path: Path, pattern: str, name: str) -> None:
    (tmp_path / "garden").mkdir()
    (tmp_path / "garden" / "b.jsonl").write_text(jsonl([example(1)]))
    expected = tmp_path.name if pattern.startswith("*") else name
    assert load_pool(PoolConfig(path=f"{tmp_path}/{pattern}"), seed=0)[0].name == expected


def test_a_file_with_the_letters_of_a_pattern_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "p[1].jsonl").write_text(jsonl([example(1)]))
    assert isinstance(open_source(str(tmp_path / "p[1].jsonl")), TextSource)


@pytest.mark.parametrize(
    ("name", "split"), [("test.jsonl", "train"), ("README.md", "train"), ("more.jsonl", "test")]
)
def test_a_folder_with_splits_is_left_to_datasets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, split: str
) -> None:
    (tmp_path / "train.jsonl").write_text(jsonl([example(1)]))
    assert isinstance(open_source(str(tmp_path)), FilesSource)
    (tmp_path / name).write_text(jsonl([example(2)]))
    asked: list[str] = []
    monkeypatch.setattr("pools.readers.DatasetSource", lambda path, split, subset: asked.append(split))
    open_source(str(tmp_path), split=split)
    assert asked == [split]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("{0}/*.json?", "/.*[?]: no file matches; a pool's files end in one of .jsonl, .jsonl.gz"),
        ("{0}/*.xlsx", "/rows.xlsx is no file of a pool, which ends in one of .jsonl"),
        ("https://host/pool.jsonl", "expected s3://BUCKET/PATH or gs://BUCKET/PATH, a path, or a hub id"),
        ("s3:///pool.jsonl", "expected s3://BUCKET/PATH"),
    ],
)
def test_what_is_no_pool_is_refused(tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "rows.xlsx").write_text("prompt\n")
    with pytest.raises(PoolError, match=message):
        load_pool(PoolConfig(path=path.format(tmp_path)), seed=0)


@pytest.mark.parametrize("field", ["path", "held_out_path"])
def test_a_credential_is_refused_and_not_repeated(field: str) -> None:
    with pytest.raises(ValueError, match=f"pool.{field} carries a credential") as refusal:
        load_config("demo", {f"pool.{field}": "s3://AKIA123:secret456@bucket/x"})
    assert "secret456" not in str(refusal.value)


def test_prompts_for_diversity_come_from_a_folder_too(folder: Path) -> None:
    assert len(list(open_source(PromptFiles(paths=[str(folder)]).sources()[0]).rows())) == 13


def test_a_cluster_sees_object_stores_and_what_lies_in_its_shared_folder(folder: Path) -> None:
    def join() -> Any:
        raise AssertionError("nobody asked to join")

    source = open_source(str(folder))
    assert isinstance(source, FilesSource)
    apart = FilesSource("", [elsewhere(source, "s3://b/a.jsonl"), elsewhere(source, "/else/b.jsonl")])
    stored = FilesSource("", [elsewhere(source, "gs://b/a.jsonl")])
    for shared, seen in ((str(folder.parent), True), (f"file://{folder}/", True), (f"{folder}x", False)):
        assert Cluster(join, shared).sees(source) is seen
    assert not Cluster(join).sees(source) and not Cluster(join).sees(apart)
    assert Cluster(join).sees(stored)
    assert not Cluster(join, str(folder)).sees(open_source(str(folder / "a.jsonl")))  # one file, as ever


def elsewhere(source: FilesSource, location: str) -> Any:
    return source.files[0]._replace(location=location)


@pytest.mark.parametrize("address", ["local", "ray://127.0.0.1:10001"])
def test_no_cluster_is_joined_for_a_study_on_this_machine(address: str, tmp_path: Path) -> None:
    study = StudyConfig.model_validate({"budget": 1, "pool": {}, "cluster": {"address": address}})
    with visited(study.cluster, tmp_path / "ray.log") as joined:
        assert not joined


def test_the_digest_is_that_of_all_fields(folder: Path) -> None:
    (first, *_) = load_pool(PoolConfig(path=str(folder)), seed=0)[0].train
    turns = (Message("system", "s"), Message("user", "u"))
    for prompt in (first.prompt, Prompt(turns, "d", {"deep": [1, {"a": None}]})):
        each = replace(first, prompt=prompt)
        assert digest(each.to_dict()) == digest(_all_but(asdict(each), "compared"))
        part = replace(each, compared=((0, 1),))
        assert digest(part.to_dict()) == digest(_all_but(asdict(part))) != digest(each.to_dict())


def _all_but(example: dict[str, Any], *names: str) -> dict[str, Any]:
    """The fields of an example, without those named, and without what single raters and a judge said."""
    plain = ("text", "score", "source")
    answers = [{k: v for k, v in each.items() if k in plain} for each in example["responses"]]
    return {k: v for k, v in example.items() if k not in names} | {"responses": answers}


PAIR = {"prompt": "p", "chosen": "a", "rejected": "b"}
TABLE = "prompt,chosen,rejected\np,a,b\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.jsonl.bz2", bz2.compress(jsonl([PAIR]).encode())),
        ("p.jsonl", bz2.compress(jsonl([PAIR]).encode())),
        ("p.csv.xz", lzma.compress(TABLE.encode())),
        ("p.json.xz", lzma.compress(json.dumps([PAIR]).encode())),
        ("p.ndjson", jsonl([PAIR]).encode()),
        ("p.csv", TABLE.replace(",", " , ").encode()),
        ("p.csv", TABLE.replace(",", "\t").encode("utf-16")),  # as Excel saves "Unicode text"
    ],
)
def test_files_as_other_programs_write_them(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    (example,) = load_pool(PoolConfig(path=str(tmp_path / name), on_bad_row="refuse"), seed=0)[0].train
    assert example.prompt.text.strip() == "p"
    assert [response.text.strip() for response in example.responses] == ["a", "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04 and more", "a zip archive: unpack it"),
        (b"PAR1 and more", "a Parquet file: name it .parquet"),
        (lzma.compress(jsonl([PAIR] * 2000).encode())[:60], "damaged_file"),
        (bz2.compress(jsonl([PAIR] * 2000).encode())[:60], "damaged_file"),
    ],
)
def test_a_file_that_is_no_text(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "p.jsonl").write_bytes(content)
    with pytest.raises(PoolError, match=message):
        load_pool(PoolConfig(path=str(tmp_path / "p.jsonl")), seed=0)
