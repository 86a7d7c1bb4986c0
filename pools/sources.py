"""Loading a pool: which source, which format, what is held out."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from base.errors import PoolError
from pools.across import Cluster, ClusterPoolBuilder
from pools.config import PoolConfig
from pools.flaws import RowFlaw, plain
from pools.formats.reader import Reader, Refusal, format_of, prompt_columns, unused_scores
from pools.formats.table import FORMATS
from pools.formats.unknown import explained, prompt_and_others
from pools.gather import Gathered, PoolBuilder, Progress
from pools.readers import PoolSource, header, open_source, whole_rows
from pools.report import PoolReport, Shape
from pools.spilled import OnDiskPoolBuilder
from pools.stored import on_disk
from pools.text_files import Row
from pools.types import Pool

_ROWS_TO_TELL_BY = 50


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
    size = source.size() + (held_out.size() if held_out else 0)
    with _builder(config, store, size, cluster, source) as gathered:
        head = _head(source, config, refusal)
        gathered.read(source, head.reader, "", progress)
        if held_out:
            gathered.read(held_out, _head(held_out, config, refusal).reader, "held_out", progress)
    kept, aside = gathered.take_held_out(seed, config.held_out_prompts)
    train = gathered.train(max(min_responses, config.min_responses))
    pool = Pool(config.name or head.name or source.name(), train, kept, head.description)
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


@contextmanager
def _builder(
    config: PoolConfig, store: Path | None, size: int, cluster: Cluster | None, source: PoolSource
) -> Iterator[PoolBuilder]:
    """Where the pool is gathered: in memory, or in `store` where its `size` is over the limit.

    Files that all machines of the cluster see are read by those; the cluster is joined meanwhile.
    """
    if store is None or size <= config.stream_above * 2**20:
        yield Gathered()
    elif cluster is None or not cluster.sees(source):
        yield OnDiskPoolBuilder(store, size)
    else:
        with cluster.join() as joined:
            yield ClusterPoolBuilder(store, size, cluster) if joined else OnDiskPoolBuilder(store, size)


class _Head(NamedTuple):
    """What the beginning of a source shows; `shape` explains columns that no format takes responses from."""

    reader: Reader
    format: str
    name: str
    description: str
    prompt_columns: Sequence[str]
    unused_scores: Sequence[str]
    shape: str


def _head(source: PoolSource, config: PoolConfig, refusal: Refusal | None) -> _Head:
    """What the first rows show; PoolError where they give no format away and none is asked for."""
    first = list(islice(whole_rows(source), _ROWS_TO_TELL_BY))
    about = header(first[0]) if first else None
    if about is not None:
        del first[0]
    values = [row.value for row in first if isinstance(row.value, dict)]
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
        plain(str((about or {}).get("name") or "")),
        plain(str((about or {}).get("description") or "")),
        prompt_columns(alike, format),
        list(map(plain, unused_scores(alike, format, config.columns, config.score))),
        _unread_columns(values) if format == "prompts" else "",
    )


def _unread_columns(values: Sequence[Mapping[str, object]]) -> str:
    """What columns there are in rows of prompts, where one of them may hold responses; else nothing."""
    return next((plain(explained(value)) for value in values if prompt_and_others(value)[1]), "")


def _told_format(values: Sequence[Mapping[str, object]], first: Sequence[Row], label: str) -> str:
    """The format that most of the first rows have; PoolError where none has one."""
    detected = [name for name in map(format_of, values) if name is not None]
    if detected:
        return max(FORMATS, key=detected.count)
    if not values:
        raise PoolError(f"{label}: {_why_no_object(first)}")
    raise PoolError(f"{label}: {plain(explained(values[0]))}")


def _refuse_unreadable(reader: Reader, values: Sequence[Mapping[str, object]], label: str) -> None:
    """PoolError where it cannot be detected for any of the first rows which columns hold what."""
    flaws = [_flaw(reader, value) for value in values]
    if flaws and all(flaw is not None and flaw.flaw.reason in _NEEDS_MAPPING for flaw in flaws):
        assert flaws[0] is not None
        raise PoolError(f"{label}: {flaws[0].flaw.detail}")


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
