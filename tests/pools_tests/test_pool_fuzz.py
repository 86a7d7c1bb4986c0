"""Any bytes under any of the names that a pool may have: a report or a refusal, soon, in bounded memory.

`FUZZ_EXAMPLES=5000 pytest tests/pools_tests/test_pool_fuzz.py` tries two hundred times as many.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from base.errors import PoolError
from pools.config import PoolConfig
from pools.sources import scan_pool

ROWS: list[dict[str, Any]] = [
    {"prompt": f"Why {n}, and\nhow?", "chosen": f"So é {n}.", "rejected": "\n\nHuman: [1]", "score_chosen": n}
    for n in range(3)
]
SECONDS, BYTES = 5.0, 80 << 20

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "25"))


def lines() -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in ROWS).encode()


def table(delimiter: str) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(ROWS[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode()


def columns(**how: Any) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), sink, **how)
    return sink.getvalue()


def zstd(content: bytes) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as out:
        out.write(content)
    return bytes(sink.getvalue().to_pybytes())


SEEDS: dict[str, Callable[[], bytes]] = {
    ".jsonl": lines,
    ".json": lambda: json.dumps(ROWS, indent=1).encode(),
    "16.json": lambda: json.dumps(ROWS).encode("utf-16"),
    ".csv": lambda: table(","),
    ".tsv": lambda: table("\t"),
    ".jsonl.gz": lambda: gzip.compress(lines(), mtime=0),
    ".csv.zst": lambda: zstd(table(",")),
    ".jsonl.bz2": lambda: bz2.compress(lines()),
    ".csv.xz": lambda: lzma.compress(table(",").replace(b"Why", b"['a' 'b']")),
    ".parquet": columns,
    "plain.parquet": lambda: columns(compression="none", use_dictionary=False),
}
BITS = [b"[", b"]", b"{", b"}", b'"', b"'", b",", b"\n", b"\r", b"\t", b"\0", b"\\ud800", b"NaN", b"1e999"]
BITS += [
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\x1f\x8b",
    b"\x28\xb5\x2f\xfd",
    b"PAR1",
    b"PK\x03\x04",
    b"BZh9",
    b"np.array(",
    b"[{" * 60,
    b'{"pool": {}}\n',
]
edits = st.lists(
    st.tuples(
        st.integers(0, 4000), st.integers(0, 40), st.one_of(st.binary(max_size=8), st.sampled_from(BITS))
    ),
    max_size=5,
)


def edited(content: bytes, changes: list[tuple[int, int, bytes]]) -> bytes:
    """The content with stretches of it replaced."""
    for start, length, new in changes:
        start %= len(content) + 1
        content = content[:start] + new + content[start + length :]
    return content


def read(path: Path, content: bytes) -> None:
    """A report of the file, or a refusal, in time."""
    path.write_bytes(content)
    start = time.process_time()
    try:
        _, report = scan_pool(PoolConfig(path=str(path)), seed=0)
    except PoolError as error:
        assert str(error).encode()
    else:
        assert "\n".join(report.lines()).encode()
        assert report.train.prompts or report.error
    assert time.process_time() - start < SECONDS


@pytest.mark.parametrize("name", SEEDS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(changes=edits)
def test_a_file_with_damage_anywhere(name: str, changes: Any, tmp_path_factory: Any) -> None:
    read(tmp_path_factory.getbasetemp() / f"pool{name}", edited(SEEDS[name](), changes))


@pytest.mark.parametrize("name", SEEDS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(content=st.binary(max_size=200))
def test_bytes_of_no_kind(name: str, content: bytes, tmp_path_factory: Any) -> None:
    read(tmp_path_factory.getbasetemp() / f"pool{name}", content)


DEEP = 200_000
BOMB = 96 << 20


def filled(start: bytes, letter: bytes) -> bytes:
    """A small file that unpacks to far more."""
    return gzip.compress(start + letter * BOMB, 1)


LARGE: dict[str, Callable[[], bytes]] = {
    "an array that never closes.json": lambda: b"[" + b'{"prompt": "p"},' * 2_000,
    "an item that never closes.json": lambda: b'[{"prompt": "' + b"p" * (20 << 20),
    "deep.jsonl": lambda: b"[" * DEEP + b"\n" + b'{"a":' * DEEP,
    "deep in a text.jsonl": lambda: json.dumps(
        {"prompt": "[" * DEEP, "chosen": "[{" * DEEP, "rejected": "a"}
    ).encode(),
    "numbers and escapes as they are printed.jsonl": lambda: json.dumps(
        {"prompt": "[" + "1 " * (1 << 20), "chosen": "['" + "\\" * (2 << 20), "rejected": "[{'a': '"}
    ).encode(),
    "a long line.jsonl.bz2": lambda: bz2.compress(b" " * BOMB),
    "a long line.jsonl.gz": lambda: filled(b"", b" "),
    "a long text.jsonl.gz": lambda: filled(b'{"prompt": "', b"p"),
    "a long array.json.gz": lambda: filled(b"[", b" "),
    "a long item.json.gz": lambda: filled(b'["', b"p"),
    "a long field.csv.gz": lambda: filled(b'prompt,chosen\n"', b"p"),
    "a long heading.csv.gz": lambda: filled(b"", b"p"),
    "an open quote.csv": lambda: b'prompt,chosen,rejected\n"' + b"a,b,c\n" * 300_000,
}


@pytest.mark.parametrize("name", LARGE)
def test_what_is_out_of_bounds_is_not_held(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"pool{name}"
    path.write_bytes(LARGE[name]())
    tracemalloc.start()
    try:
        scan_pool(PoolConfig(path=str(path)), seed=0)
    except PoolError as error:
        assert str(error).encode()
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < BYTES
