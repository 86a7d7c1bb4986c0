"""Loading a pool: which source, which format, what is held out."""

from __future__ import annotations

import glob
import importlib.resources
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple

from base.errors import PoolError
from pools.across import Cluster, read_across
from pools.config import PoolConfig
from pools.files import is_uri
from pools.flaws import RowFlaw
from pools.formats.reader import Reader, Refusal, format_of, prompt_columns, unused_scores
from pools.formats.table import FORMATS
from pools.formats.unknown import explained
from pools.gather import Gathered, PoolBuilder
from pools.readers import FilesSource, PoolSource, files_of, header, open_source, placed, whole_rows
from pools.report import PoolReport, Shape
from pools.spilled import OnDiskPoolBuilder
from pools.stored import on_disk
from pools.text_files import Row
from pools.types import Pool

_ROWS_TO_TELL_BY = 50
_ROWS_BETWEEN_CALLS = 500

Progress = Callable[[int, float], None]


def load_pool(
    config: PoolConfig,
    *,
    seed: int,
    min_responses: int = 0,
    store: Path | None = None,
    cluster: Cluster | None = None,
    refusal: Refusal | None = None,
) -> tuple[Pool, PoolReport]:
    """The pool of a configuration, with the report of what was dropped.

    `seed` decides which prompts are held out where the pool does not say. Train prompts have at least
    the larger of `min_responses` and the configuration's; held-out prompts may have none. Of a pool larger
    than `config.stream_above` the train part is written to the folder `store`, where one is given; `cluster`
    reads that, if it sees its files. Prompts that `refusal` gives a reason for are left out and counted.
    Raises PoolError where nothing is left to train on, or for any flaw under `on_bad_row: refuse`.
    """
    with on_disk(store) if store else nullcontext():
        pool, report = scan_pool(
            config, seed=seed, min_responses=min_responses, store=store, cluster=cluster, refusal=refusal
        )
    if report.error:
        raise PoolError(report.error)
    return pool, report


def scan_pool(
    config: PoolConfig,
    *,
    seed: int,
    min_responses: int = 0,
    progress: Progress | None = None,
    store: Path | None = None,
    cluster: Cluster | None = None,
    refusal: Refusal | None = None,
) -> tuple[Pool, PoolReport]:
    """As `load_pool`, but an unusable pool comes back with `report.error` set, for a full account of why.

    `progress` is called now and then with rows read and the share of the source that is done.
    """
    source = open_source(resolved(config.path), split=config.split, subset=config.subset)
    held_out = None
    if config.held_out_path or config.held_out_split:
        path = resolved(config.held_out_path or config.path)
        held_out = open_source(path, split=config.held_out_split or config.split, subset=config.subset)
    return assemble(
        source,
        held_out,
        config,
        seed=seed,
        min_responses=min_responses,
        progress=progress,
        store=store,
        cluster=cluster,
        refusal=refusal,
    )


def assemble(
    source: PoolSource,
    held_out: PoolSource | None,
    config: PoolConfig,
    *,
    seed: int,
    min_responses: int = 0,
    progress: Progress | None = None,
    store: Path | None = None,
    cluster: Cluster | None = None,
    refusal: Refusal | None = None,
) -> tuple[Pool, PoolReport]:
    """The pool of any two sources; the paths in `config` are not looked at."""
    gathered = _gathering(config, store, source.size() + (held_out.size() if held_out else 0))
    parts = [(source, ""), *([(held_out, "held_out")] if held_out else [])]
    with _helped(gathered, cluster, source) as helpers:
        numbers = count()
        head, *_ = [
            _read(each, config, refusal, gathered, part, numbers, progress, helpers) for each, part in parts
        ]
    kept, aside = gathered.take_held_out(seed, config.held_out_prompts)
    train = gathered.train(max(min_responses, config.min_responses))
    pool = Pool(config.name or head.name or _name_of(source), train, kept, head.description)
    report = PoolReport(
        path=source.label,
        name=pool.name,
        description=pool.description,
        format=head.format,
        formats=dict(gathered.findings.formats.most_common()),
        prompt_columns=tuple(head.prompt_columns),
        unused_scores=tuple(head.unused_scores),
        shape=head.shape,
        detected=config.format == "auto" and not config.columns.given,
        on_bad_row=config.on_bad_row,
        rows=gathered.rows,
        merged_rows=gathered.merged_rows,
        held_out_left_aside=aside,
        counts=dict(gathered.findings.counts),
        notes=gathered.findings.notes,
        first=gathered.findings.first,
        train=Shape.of(train),
        held_out=Shape.of(kept),
    )
    return pool, report


def _gathering(config: PoolConfig, store: Path | None, size: int) -> PoolBuilder:
    """Where the pool is gathered: in memory, or in `store` where it is larger than the limit."""
    if store is None or size <= config.stream_above * 2**20:
        return Gathered()
    return OnDiskPoolBuilder(store, size)


@contextmanager
def _helped(gathered: PoolBuilder, cluster: Cluster | None, source: PoolSource) -> Iterator[Cluster | None]:
    """The cluster, joined, where it is worth that: for a pool on disk whose files all its machines see."""
    if cluster is None or not isinstance(gathered, OnDiskPoolBuilder) or not cluster.sees(source):
        yield None
        return
    with cluster.join() as joined:
        yield cluster if joined else None


class _Head(NamedTuple):
    """What the beginning of a source tells; `shape` explains columns that no format takes responses from."""

    reader: Reader
    format: str
    name: str
    description: str
    prompt_columns: Sequence[str]
    unused_scores: Sequence[str]
    shape: str


def _read(
    source: PoolSource,
    config: PoolConfig,
    refusal: Refusal | None,
    gathered: PoolBuilder,
    part: str,
    numbers: Iterator[int],
    progress: Progress | None,
    helpers: Cluster | None,
) -> _Head:
    """Read a source to its end; a `part` given here overrules the rows' own. `numbers` are for its files."""
    head = _head(source, config, refusal)
    if (
        isinstance(source, FilesSource)
        and isinstance(gathered, OnDiskPoolBuilder)
        and helpers
        and helpers.sees(source)
    ):
        read_across(source.files, head.reader, gathered, part, numbers)
        return head
    for file in files_of(source):
        for each in placed(file, next(numbers)):
            gathered.add(each, head.reader, part)
            if progress is not None and gathered.rows % _ROWS_BETWEEN_CALLS == 0:
                progress(gathered.rows, source.fraction())
    return head


def _head(source: PoolSource, config: PoolConfig, refusal: Refusal | None) -> _Head:
    """What the first rows tell; PoolError where they give no format away and none is asked for."""
    first = list(islice(whole_rows(source), _ROWS_TO_TELL_BY))
    about = header(first[0]) if first else None
    if about is not None:
        del first[0]
    values = [row.value for row in first if isinstance(row.value, Mapping)]
    if config.columns.given:
        format = "columns"
    else:
        format = _told_format(values, first, source.label) if config.format == "auto" else config.format
    reader = Reader(config.format, format, config.columns, config.score, refusal)
    _refuse_unreadable(reader, values, source.label)
    alike = [value for value in values if format_of(value) == format] if config.format == "auto" else values
    return _Head(
        reader,
        format,
        _plain((about or {}).get("name")),
        _plain((about or {}).get("description")),
        prompt_columns(alike, format),
        unused_scores(alike, format, config.columns, config.score),
        explained(values[0]) if values and format == "prompts" else "",
    )


def _plain(value: object) -> str:
    return str(value or "").encode(errors="replace").decode()


def _told_format(values: Sequence[Mapping[str, object]], first: Sequence[Row], label: str) -> str:
    """The format that most of the first rows have; PoolError where none has one."""
    told = [name for name in map(format_of, values) if name is not None]
    if told:
        return max(FORMATS, key=told.count)
    if not values:
        raise PoolError(f"{label}: {_why_no_object(first)}")
    raise PoolError(f"{label}: {_plain(explained(values[0]))}")


def _refuse_unreadable(reader: Reader, values: Sequence[Mapping[str, object]], label: str) -> None:
    """PoolError where it cannot be told of any of the first rows which columns hold what."""
    flaws = [_flaw(reader, value) for value in values]
    if flaws and all(flaw is not None and flaw.flaw.reason in _NEEDS_MAPPING for flaw in flaws):
        assert flaws[0] is not None
        raise PoolError(f"{label}: {_plain(flaws[0].flaw.detail)}")


_NEEDS_MAPPING = ("unknown_shape", "two_prompts")


def _flaw(reader: Reader, value: Mapping[str, object]) -> RowFlaw | None:
    try:
        reader.read(value)
    except RowFlaw as flaw:
        return flaw
    return None


def _why_no_object(first: Sequence[Row]) -> str:
    flaws = [f"line {row.line}: {row.flaw.reason}: {row.flaw.detail}" for row in first if row.flaw]
    return "; ".join(["no row is an object (one JSON object a line is expected)", *flaws[:1]])


def resolved(path: str) -> str:
    """The path itself, or that of the pool that ships with the project for `demo`."""
    if path != "demo":
        return path
    return str(importlib.resources.files("pools.demo") / "demo.jsonl.gz")


def _name_of(source: PoolSource) -> str:
    """The last part of a path that is no pattern, without its ending."""
    label = source.label
    if isinstance(source, FilesSource):
        plain = label.partition("?")[0] if is_uri(label) else label
        label = next((part for part in reversed(Path(plain).parts) if not glob.has_magic(part)), label)
    return re.split(r"[.\[]", Path(label).name)[0] or label
