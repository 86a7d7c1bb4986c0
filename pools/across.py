"""Reading a pool on a cluster: Ray Data reads and checks its files on the workers, the head collects."""

from __future__ import annotations

import logging
import pickle
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from pools.adapters import ADAPTERS
from pools.errors import PoolError
from pools.files import File, is_uri
from pools.gather import sighting
from pools.readers import FilesSource, PoolSource, open_file, placed
from pools.report import Findings
from pools.spilled import Spilled, as_line, part_of

_CHUNK_ROWS = 1000
_BLOCK_BYTES = 8 << 20  # of checked rows, sent to the head as one
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
        return isinstance(source, FilesSource) and all(
            is_uri(place) or (self.shared != "" and place.startswith(folder)) for place, _ in source.files
        )


class _Chunk(NamedTuple):
    """Some rows of one file, checked; `findings` of the whole file come with its last chunk."""

    number: int
    rows: int
    lines: dict[int, str]
    findings: Findings | None = None


def read_across(
    files: Sequence[File],
    format: str,
    gathered: Spilled,
    part: str,
    numbers: Iterator[int],
) -> None:
    """What `gathered.add` would make of all rows of `files`, with the reading done on Ray, which is joined.

    A worker reads one file at a time and holds a thousand of its rows; it waits where the head is slower.
    Raises PoolError where a worker cannot read a file.
    """
    findings: dict[int, Findings] = {}
    numbered = [(next(numbers), file.place) for file in files]
    for chunk in _chunks(numbered, format, part, gathered.parts):
        gathered.rows += chunk.rows
        for each, lines in chunk.lines.items():
            gathered.put(each, lines)
        if chunk.findings is not None:
            findings[chunk.number] = chunk.findings
    for number in sorted(findings):  # files end in any order
        gathered.findings.include(findings[number])


def _chunks(files: Sequence[tuple[int, str]], format: str, part: str, parts: int) -> Iterator[_Chunk]:
    """All chunks: those of one file in order, those of several mixed."""
    import ray.data
    from ray.exceptions import RayError

    talk = logging.getLogger("ray.data")
    talk.handlers, talk.propagate = [], True  # to where Ray's own log goes, not to the terminal
    context = ray.data.DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.target_max_block_size = _BLOCK_BYTES
    items = [{"number": number, "place": place} for number, place in files]
    with ray.data.DataContext.current(context):
        rows = ray.data.from_items(items, override_num_blocks=min(len(items), _MOST_TASKS)).flat_map(
            partial(_checked, format=format, part=part, parts=parts), num_cpus=1
        )
        try:
            for row in rows.iter_rows():
                yield pickle.loads(row["chunk"])
        except RayError as error:
            raise PoolError(f"the cluster cannot read the pool: {error}") from error


def _checked(file: dict[str, Any], format: str, part: str, parts: int) -> Iterator[dict[str, bytes]]:
    """One file's chunks, on a worker."""
    findings, adapter = Findings(), ADAPTERS[format]
    lines: defaultdict[int, list[str]] = defaultdict(list)
    rows = 0

    def chunk(ended: Findings | None = None) -> dict[str, bytes]:
        joined = {each: "".join(some) for each, some in lines.items()}
        return {"chunk": pickle.dumps(_Chunk(file["number"], rows, joined, ended))}

    for each in placed(open_file(file["place"]), file["number"]):
        rows += 1
        if (good := sighting(each, adapter, part, findings)) is not None:
            lines[part_of(good, parts)].append(as_line(good))
        if rows == _CHUNK_ROWS:
            yield chunk()
            lines.clear()
            rows = 0
    yield chunk(findings)
