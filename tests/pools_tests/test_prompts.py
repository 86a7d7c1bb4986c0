"""The prompts of files: what is passed over is counted, repeats are left out, memory is bounded."""

import json
from pathlib import Path

import pytest
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from base.errors import PoolError
from pools import prompts as module
from pools.prompts import PromptFiles, Tally, stream_prompts


def written(path: Path, rows: list[object]) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


def read(files: PromptFiles, **options: bool) -> tuple[list[str], Tally]:
    tally = Tally()
    return [prompt.text for prompt in stream_prompts(files, tally, **options)], tally


def test_repeats_are_left_out_across_files(tmp_path: Path) -> None:
    one = written(tmp_path / "1.jsonl", [{"prompt": "Why?"}, {"prompt": "How?"}])
    two = written(tmp_path / "2.jsonl", [{"prompt": "Why?"}, {"prompt": "why?"}])
    files = PromptFiles(paths=[str(tmp_path / "*.jsonl")])
    assert files.sources() == [one, two]
    texts, tally = read(files)
    assert (texts, tally.rows, tally.repeats) == (["Why?", "How?", "why?"], 4, 1)
    assert read(files, keep_repeats=True)[0] == ["Why?", "How?", "Why?", "why?"]


def test_a_pattern_in_an_object_store_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = SubTreeFileSystem(str(tmp_path), LocalFileSystem())
    monkeypatch.setattr("pools.files._reached", lambda uri: (store, uri.partition("://")[2]))
    (tmp_path / "bucket" / "x").mkdir(parents=True)
    written(tmp_path / "bucket" / "x" / "1.jsonl", [{"prompt": "Why?"}])
    files = PromptFiles(paths=["s3://bucket/x/*.jsonl"])
    assert files.sources() == ["s3://bucket/x/1.jsonl"]
    assert read(files)[0] == ["Why?"]


def test_only_so_many_prompts_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPEATS_LIMIT", 1)
    path = written(tmp_path / "p.jsonl", [{"prompt": text} for text in "abab"])
    assert read(PromptFiles(paths=[path]))[0] == ["a", "b", "b"]


def test_a_row_without_a_prompt_is_counted(tmp_path: Path) -> None:
    rows = [
        {"pool": {"name": "x"}},
        {"prompt": "a"},
        {"prompt": ""},
        7,
        {"prompt": [{"role": "user", "content": "b"}]},
    ]
    texts, tally = read(PromptFiles(paths=[written(tmp_path / "p.jsonl", rows)]))
    assert texts == ["a", "b"]
    assert dict(tally.flaws) == {"empty_prompt": 1, "not_an_object": 1}
    assert any("prompt is missing or empty" in line for line in tally.lines())


def test_formats_and_columns(tmp_path: Path) -> None:
    pair = {"chosen": "\n\nHuman: hi\n\nAssistant: yes", "rejected": "\n\nHuman: hi\n\nAssistant: no"}
    path = written(tmp_path / "p.jsonl", [{**pair, "note": "n"}])
    assert read(PromptFiles(paths=[path]))[0] == ["hi"]
    assert read(PromptFiles(paths=[path], field="note"))[0] == ["n"]
    with pytest.raises(PoolError, match="with --field: the columns are note. No format"):
        read(PromptFiles(paths=[written(tmp_path / "q.jsonl", [{"note": "n"}])]))
    with pytest.raises(PoolError, match="no file matches"):
        read(PromptFiles(paths=[str(tmp_path / "*.parquet")]))
