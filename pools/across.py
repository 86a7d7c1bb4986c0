"""Reading a pool on a cluster: Ray Data reads and checks its files on the workers, the head collects."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

from base.errors import PoolError
from pools.files import File, is_uri
from pools.formats.reader import Reader
from pools.gather import Progress, valid_rows
from pools.readers import PoolSource, open_file, placed
from pools.report import Findings
from pools.spilled import OnDiskPoolBuilder, as_line, part_of

_CHUNK_BYTES = 4 << 20  # of checked rows that a worker holds
_BLOCK_BYTES = 8 << 20  # that are sent to the head as one
_MOST_TASKS = 1000  # above it a task reads several files


@dataclass(frozen=True)
class Cluster:
    """Machines that can read a large pool: `join` enters the cluster, and gives False where there is none.

    `shared` is the folder that all of them see, if there is one.
    """

    join: Callable[[], AbstractContextManager[bool]]
    shared: str = ""

    def sees(self, source: PoolSource) -> bool:
        """Whether every machine can read the source: files in an object store, or below `shared`."""
        folder = self.shared.removeprefix("file://").rstrip("/") + "/"
        return bool(source.files) and all(
            is_uri(location) or (self.shared != "" and location.startswith(folder))
            for location, _ in source.files
        )


class ClusterPoolBuilder(OnDiskPoolBuilder):
    """As `OnDiskPoolBuilder`, with files read by a cluster, which is joined, where that sees them."""

    def __init__(self, folder: Path, source_bytes: int, cluster: Cluster) -> None:
        super().__init__(folder, source_bytes)
        self._cluster = cluster

    def read(self, source: PoolSource, reader: Reader, part: str, progress: Progress | None = None) -> None:
        """See `PoolBuilder`."""
        if self._cluster.sees(source):
            read_across(source.files, reader, self, part)
        else:
            super().read(source, reader, part, progress)


class _Chunk(TypedDict):
    """Some good rows of one file, all of one part, as `pools.spilled.as_line` writes them.

    A file's last chunk has no lines, but counts all its `rows`, good and bad, and holds its `findings`.
    """

    number: int
    rows: int
    part: int
    lines: str
    findings: str


def read_across(files: Sequence[File], reader: Reader, gathered: OnDiskPoolBuilder, mark: str) -> None:
    """What `gathered.read` would make of all rows of `files`, with the reading done on Ray, which is joined.

    A worker reads one file at a time and holds a few MiB of its rows; it waits where the head is slower.
    `mark` overrules the rows' own. Raises PoolError where a worker cannot read a file.
    """
    findings: dict[int, Findings] = {}
    numbered = [(next(gathered.numbers), file.location) for file in files]
    for chunk in _chunks(numbered, reader, mark, gathered.parts):
        gathered.rows += chunk["rows"]
        gathered.put(chunk["part"], chunk["lines"])
        if chunk["findings"]:
            findings[chunk["number"]] = Findings.from_json(chunk["findings"])
    for number in sorted(findings):  # files end in any order
        gathered.findings.include(findings[number])


def _chunks(files: Sequence[tuple[int, str]], reader: Reader, mark: str, parts: int) -> Iterator[_Chunk]:
    """All chunks, of several files mixed."""
    import ray.data
    from ray.exceptions import RayError

    talk = logging.getLogger("ray.data")
    talk.handlers, talk.propagate = [], True  # to where Ray's own log goes, not to the terminal
    talk.setLevel(logging.INFO)
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.target_max_block_size = _BLOCK_BYTES
    items = [{"number": number, "location": location} for number, location in files]
    with ray.data.DataContext.current(context):
        rows = ray.data.from_items(items, override_num_blocks=min(len(items), _MOST_TASKS)).flat_map(
            partial(_checked, reader=reader, mark=mark, parts=parts), num_cpus=1
        )
        try:
            yield from rows.iter_rows()
        except RayError as error:
            why = str(getattr(error, "cause", error)).partition("\n")[0]  # without its traceback
            raise PoolError(f"a worker of the cluster cannot read the pool: {why}") from error


def _checked(file: dict[str, Any], reader: Reader, mark: str, parts: int) -> Iterator[_Chunk]:
    """One file's chunks, on a worker."""
    number, findings = file["number"], Findings()
    lines: defaultdict[int, list[str]] = defaultdict(list)
    rows = held = 0
    for each in placed(open_file(file["location"]), number):
        rows += 1
        for good in valid_rows(each, reader, mark, findings):
            lines[part_of(good, parts)].append(line := as_line(good))
            held += len(line)
        if held > _CHUNK_BYTES:
            yield from _emptied(lines, number)
            held = 0
    yield from _emptied(lines, number)
    yield _Chunk(number=number, rows=rows, part=0, lines="", findings=findings.to_json())


def _emptied(lines: dict[int, list[str]], number: int) -> Iterator[_Chunk]:
    """What is held of a file, a chunk for each part; nothing is held afterwards."""
    for part, some in lines.items():
        yield _Chunk(number=number, rows=0, part=part, lines="".join(some), findings="")
    lines.clear()
