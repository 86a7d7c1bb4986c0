"""Loading a pool: which source, which format, what is held out."""

from __future__ import annotations

import glob
import importlib.resources
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple, get_args

from base.errors import PoolError
from pools.across import Cluster, read_across
from pools.adapters import ADAPTERS, format_of
from pools.config import Format, PoolConfig
from pools.files import is_uri
from pools.flaws import shown
from pools.gather import Gathered, PoolBuilder
from pools.readers import FilesSource, PoolSource, Row, files_of, header, open_source, placed
from pools.report import PoolReport, Shape
from pools.spilled import OnDiskPoolBuilder
from pools.stored import on_disk
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
) -> tuple[Pool, PoolReport]:
    """The pool of a configuration, with the report of what was dropped.

    `seed` decides which prompts are held out where the pool does not say. Train prompts have at least
    the larger of `min_responses` and the configuration's; held-out prompts may have none. Of a pool larger
    than `config.stream_above` the train part is written to the folder `store`, where one is given; `cluster`
    reads that, if it sees its files.
    Raises PoolError where nothing is left to train on, or for any flaw under `on_bad_row: refuse`.
    """
    with on_disk(store) if store else nullcontext():
        pool, report = scan_pool(config, seed=seed, min_responses=min_responses, store=store, cluster=cluster)
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
) -> tuple[Pool, PoolReport]:
    """As `load_pool`, but an unusable pool comes back with `report.error` set, for a full account of why.

    `progress` is called now and then with rows read and the share of the source that is done.
    """
    source = open_source(_resolved(config.path), split=config.split, subset=config.subset)
    held_out = None
    if config.held_out_path or config.held_out_split:
        path = _resolved(config.held_out_path or config.path)
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
) -> tuple[Pool, PoolReport]:
    """The pool of any two sources; the paths in `config` are not looked at."""
    gathered = _gathering(config, store, source.size() + (held_out.size() if held_out else 0))
    parts = [(source, ""), *([(held_out, "held_out")] if held_out else [])]
    with _helped(gathered, cluster, source) as helpers:
        numbers = count()
        head, *_ = [
            _read(each, config.format, gathered, part, numbers, progress, helpers) for each, part in parts
        ]
    kept, aside = gathered.take_held_out(seed, config.held_out_prompts)
    train = gathered.train(max(min_responses, config.min_responses))
    pool = Pool(config.name or head.name or _name_of(source), train, kept, head.description)
    report = PoolReport(
        path=source.label,
        name=pool.name,
        description=pool.description,
        format=head.format,
        detected=config.format == "auto",
        on_bad_row=config.on_bad_row,
        rows=gathered.rows,
        merged_rows=gathered.merged_rows,
        held_out_left_aside=aside,
        counts=dict(gathered.findings.counts),
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
    """What the beginning of a source tells."""

    format: str
    name: str
    description: str


def _read(
    source: PoolSource,
    asked: Format,
    gathered: PoolBuilder,
    part: str,
    numbers: Iterator[int],
    progress: Progress | None,
    helpers: Cluster | None,
) -> _Head:
    """Read a source to its end; a `part` given here overrules the rows' own. `numbers` are for its files."""
    head = _head(source, asked)
    if (
        isinstance(source, FilesSource)
        and isinstance(gathered, OnDiskPoolBuilder)
        and helpers
        and helpers.sees(source)
    ):
        read_across(source.files, head.format, gathered, part, numbers)
        return head
    for file in files_of(source):
        for each in placed(file, next(numbers)):
            gathered.add(each, ADAPTERS[head.format], part)
            if progress is not None and gathered.rows % _ROWS_BETWEEN_CALLS == 0:
                progress(gathered.rows, source.fraction())
    return head


def _head(source: PoolSource, asked: Format) -> _Head:
    """What the first rows tell; PoolError where they give no format away and none is asked for."""
    first = list(islice(source.rows(), _ROWS_TO_TELL_BY))
    about = header(first[0]) if first else None
    if about is not None:
        del first[0]
    format = _told_format(first, source.label) if asked == "auto" else asked
    return _Head(format, _plain((about or {}).get("name")), _plain((about or {}).get("description")))


def _plain(value: object) -> str:
    return str(value or "").encode(errors="replace").decode()


def _told_format(first: Sequence[Row], label: str) -> str:
    """The format that most of the first rows have; PoolError where none has one."""
    values = [row.value for row in first if isinstance(row.value, Mapping)]
    told = [name for name in map(format_of, values) if name is not None]
    if told:
        return max(ADAPTERS, key=told.count)
    if not values:
        raise PoolError(f"{label}: {_why_no_object(first)}")
    formats = ", ".join(name for name in get_args(Format) if name != "auto")
    raise PoolError(
        f"{label}: format auto finds no format with the keys {shown([*values[0]])}; give one of {formats}"
    )


def _why_no_object(first: Sequence[Row]) -> str:
    flaws = [f"line {row.line}: {row.flaw.reason}: {row.flaw.detail}" for row in first if row.flaw]
    return "; ".join(["no row is an object (one JSON object a line is expected)", *flaws[:1]])


def _resolved(path: str) -> str:
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
