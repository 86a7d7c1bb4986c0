"""Collecting a pool that is larger than memory: rows go to disk by their prompt, and are settled in parts."""

from __future__ import annotations

import heapq
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from pools.flaws import Flaw
from pools.formats.draft import Rows
from pools.gather import HELD_OUT_SALT, Entry, Gathered, PoolBuilder, ValidRow, too_few, too_few_to_hold_out
from pools.report import Findings
from pools.stored import Packed, StoredExamples, pack_prompt, pack_responses, unpack_prompt, unpack_responses
from pools.subset import digest
from pools.types import Example, guard_of

# Of the pool's files; in memory a part takes twice as much, or more where prompts repeat.
PART_BYTES = 64 << 20
_MOST_PARTS = 400  # all are open at once, and systems allow a process 1,024 files


class _Settled(NamedTuple):
    """One prompt with all that the pool says of it; `at` and `location` are those of its first row."""

    at: int
    location: str
    row: Packed


class OnDiskPoolBuilder(PoolBuilder):
    """`pools.gather.Gathered` in bounded memory, with the same outcome to the letter.

    Rows that speak of one prompt land in the same of `parts` files in `folder`, so that each file can be
    settled alone. What stays in memory is one such part, the held-out examples and the first findings. On
    disk `folder` takes at most twice the pool and, in the end, once: `train` leaves it as an Arrow file.
    """

    def __init__(self, folder: Path, source_bytes: int) -> None:
        super().__init__()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._folder = folder
        self.parts = min(max(source_bytes // PART_BYTES, 1) + 1, _MOST_PARTS)
        self._open = ExitStack()
        self._rows = [
            self._open.enter_context(self._file("rows", part).open("w")) for part in range(self.parts)
        ]
        self._taken: set[str] = set()  # keys and guards of prompts that were held out of the train part

    def merge(self, good: ValidRow) -> None:
        """See `PoolBuilder`."""
        self.put(part_of(good, self.parts), as_line(good))

    def put(self, part: int, lines: str) -> None:
        """Take in checked rows of one part, in any order: `as_line` of each."""
        self._rows[part].write(lines)

    def take_held_out(self, seed: int, count: int | None) -> tuple[tuple[Example, ...], int]:
        """See `PoolBuilder`."""
        self._open.close()
        sizes = [self._settle(part) for part in range(self.parts)]
        train, marked = (sum(each) for each in zip(*sizes, strict=True))
        if count is None:
            kept = list(self._settled("held_out"))
        elif count > (found := marked or train):
            raise too_few_to_hold_out(count, found, self.findings)
        else:
            salted, source = seed ^ HELD_OUT_SALT, self._settled("held_out" if marked else "train")
            kept = heapq.nsmallest(count, source, key=lambda one: _drawn(salted, one.row.key))
        if not marked:
            self._taken = {name for one in kept for name in (one.row.key, guard_of(one.row.key))}
        return tuple(one.row.example() for one in kept), marked - len(kept) if marked else 0

    def train(self, min_responses: int) -> StoredExamples:
        """See `PoolBuilder`."""
        stored = StoredExamples.write(self._folder / "train.arrow", self._enough(min_responses))
        for part in range(self.parts):
            for name in ("train", "held_out"):
                self._file(name, part).unlink()
        return stored

    def _enough(self, min_responses: int) -> Iterator[Packed]:
        late = Findings()
        for one in self._settled("train"):
            if one.row.key in self._taken:
                continue
            if guard_of(one.row.key) in self._taken:
                late.add(Flaw("shared_with_held_out"), one.location, one.at)
            elif one.row.size >= min_responses:
                yield one.row
            else:
                late.add(too_few(one.row.size, min_responses), one.location, one.at)
        self.findings.include(late)

    def _settle(self, part: int) -> tuple[int, int]:
        """Make one line a prompt of a part's rows; how many there are, train and held out."""
        rows = self._file("rows", part)
        with rows.open() as file:
            lines = sorted(file, key=_at)  # several readers write in another order than that of the rows
        rows.unlink()
        seen = Counter(guard_of(_head(line).key) for line in lines)
        done: dict[bool, list[str]] = {False: [], True: []}
        gathered = Gathered()
        for line in lines:
            head = _head(line)
            if seen[guard_of(head.key)] == 1 and not head.repeats:
                done[head.held_out].append(line)
            else:
                gathered.merge(_row(head, line))
        train, held_out = (map(_entry_line, entries) for entries in gathered.settled())
        self.merged_rows += gathered.merged_rows
        self.findings.include(gathered.findings)
        return (
            _write(self._file("train", part), heapq.merge(done[False], train, key=_at)),
            _write(self._file("held_out", part), heapq.merge(done[True], held_out, key=_at)),
        )

    def _settled(self, name: str) -> Iterator[_Settled]:
        """The prompts of one kind, of all parts, in the order in which they were met."""
        with ExitStack() as stack:
            files = [stack.enter_context(self._file(name, part).open()) for part in range(self.parts)]
            for line in heapq.merge(*files, key=_at):
                head = _head(line)
                yield _Settled(head.at, head.location, Packed(head.key, head.size, *_texts(line)))

    def _file(self, name: str, part: int) -> Path:
        return self._folder / f"{name}-{part}"


def _write(path: Path, lines: Iterable[str]) -> int:
    """Write the lines and return how many there were."""
    count = 0
    with path.open("w") as file:
        for count, line in enumerate(lines, start=1):  # noqa: B007
            file.write(line)
    return count


class _Head(NamedTuple):
    """The first field of a line: of a row what `ValidRow` says of it, of a settled prompt its first row's.

    `size` is the number of responses, and `repeats` whether one of them has the text of another.
    """

    at: int
    location: str
    key: str
    size: int
    held_out: bool
    rows: Rows
    repeats: bool


def part_of(good: ValidRow, parts: int) -> int:
    """Which of `parts` a row belongs to: that of all rows with its prompt."""
    return int(good.prompt.key[:8], 16) % parts


def as_line(good: ValidRow) -> str:
    """A good row as the files hold it: three fields with tabs between, which texts in JSON have none of."""
    texts = {response.text.strip() for response in good.responses}
    size, key = len(good.responses), good.prompt.key
    head = _Head(good.at, good.location, key, size, good.held_out, good.rows, len(texts) < size)
    packed = pack_responses(good.responses, good.compared)
    return f"{json.dumps(head)}\t{pack_prompt(good.prompt)}\t{packed}\n"


def _entry_line(entry: Entry) -> str:
    example = entry.example()
    row = ValidRow(
        entry.at, entry.location, False, "alone", example.prompt, example.responses, example.compared
    )
    return as_line(row)


def _drawn(seed: int, key: str) -> tuple[bytes, str]:
    """What a prompt is held out by: its rank in the order of `pools.subset.ranking`."""
    return digest(seed, guard_of(key)), key


def _at(line: str) -> int:
    return int(line[1 : line.index(",")])


def _head(line: str) -> _Head:
    return _Head(*json.loads(line[: line.index("\t")]))


def _texts(line: str) -> tuple[str, str]:
    _, prompt, responses = line[:-1].split("\t")
    return prompt, responses


def _row(head: _Head, line: str) -> ValidRow:
    prompt, responses = _texts(line)
    said = unpack_prompt(prompt), *unpack_responses(responses)
    return ValidRow(head.at, head.location, head.held_out, head.rows, *said)
