"""The prompts of files of any size, one at a time: what diversity is measured on, without their responses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from base.errors import PoolError
from pools.check import check
from pools.files import named_files
from pools.flaws import REASONS, RowFlaw
from pools.formats.columns import Columns, from_columns
from pools.formats.draft import Draft
from pools.formats.reader import Reader, format_of
from pools.formats.unknown import explained
from pools.readers import PoolSource, open_source, whole_rows
from pools.text_files import Row
from pools.types import Prompt

REPEATS_LIMIT = 5_000_000  # prompts remembered to leave out repeats, about 100 bytes each


@dataclass(frozen=True, kw_only=True)
class PromptFiles:
    """Which files or data sets to read, and how.

    `paths` may hold globs and hub ids. `field` names the column that holds the prompt (a text or a list of
    turns); when empty, `format` (`auto`: detected from the first row) says where it lies.
    """

    paths: Sequence[str]
    format: str = "auto"
    field: str = ""
    split: str = "train"
    subset: str = ""

    def sources(self) -> list[str]:
        """Every path, patterns expanded in sorted order; PoolError for one that matches nothing."""
        found = ([file.location for file in named_files(path)] or [path] for path in self.paths)
        return list(chain.from_iterable(found))


@dataclass
class Tally:
    """What was read: rows, rows without a usable prompt by reason, and prompts left out as repeats."""

    rows: int = 0
    repeats: int = 0
    flaws: Counter[str] = field(default_factory=Counter)

    def lines(self) -> list[str]:
        """The account for a reader, one line a reason."""
        lines = [f"{count:,} rows: {REASONS[reason]}" for reason, count in sorted(self.flaws.items())]
        return lines + ([f"{self.repeats:,} repeated prompts left out"] if self.repeats else [])


def stream_prompts(
    files: PromptFiles,
    tally: Tally,
    *,
    keep_repeats: bool = False,
    progress: Callable[[str, float], None] | None = None,
) -> Iterator[Prompt]:
    """The usable prompts of all files in order; `tally` is kept while they are read.

    A prompt met before (see `Prompt.key`) is left out among the first 5 million different ones; those after
    are not remembered, so that memory stays bounded. `progress` is called for each source and its share read.
    """
    seen: set[bytes] = set()
    for path in files.sources():
        source = open_source(path, split=files.split, subset=files.subset)
        for prompt in _prompts(source, files, tally):
            if progress is not None and tally.rows % 512 == 0:
                progress(source.label, source.fraction())
            if keep_repeats or _is_new(prompt, seen):
                yield prompt
            else:
                tally.repeats += 1


def _is_new(prompt: Prompt, seen: set[bytes]) -> bool:
    key = bytes.fromhex(prompt.key[-16:])
    if key in seen:
        return False
    if len(seen) < REPEATS_LIMIT:
        seen.add(key)
    return True


def nothing_usable(files: PromptFiles, tally: Tally) -> PoolError:
    """The error where no row has a prompt: what was wrong, and the columns that there are."""
    path = files.sources()[0]
    first = next(whole_rows(open_source(path, split=files.split, subset=files.subset)), Row(1))
    columns = ", ".join(map(str, first.value)) if isinstance(first.value, dict) else "none"
    where = f"column {files.field!r} holds no prompt" if files.field else "there is no usable prompt"
    return PoolError("; ".join([f"{path}: {where}", *tally.lines(), f"the columns are {columns}"]))


def _prompts(source: PoolSource, files: PromptFiles, tally: Tally) -> Iterator[Prompt]:
    read: Callable[[Mapping[str, Any]], Sequence[Draft]] | None = None
    for row in whole_rows(source):
        if _is_header(row):
            continue
        tally.rows += 1
        try:
            if row.flaw is not None:
                raise RowFlaw(*row.flaw)
            if not isinstance(row.value, dict):
                raise RowFlaw("not_an_object")
            read = read or _reading(row.value, files, source.label)
            for asked in read(row.value):
                yield check(Draft(asked.prompt, (), asked.domain, meta=asked.meta)).prompt
        except RowFlaw as error:
            tally.flaws[error.flaw.reason] += 1


def _is_header(row: Row) -> bool:
    return row.line == 1 and isinstance(row.value, dict) and row.value.keys() == {"pool"}


def _reading(
    row: Mapping[str, Any], files: PromptFiles, label: str
) -> Callable[[Mapping[str, Any]], Sequence[Draft]]:
    if files.field:
        columns = Columns(prompt=files.field)
        return lambda fields: (from_columns(fields, columns),)
    name = format_of(row) if files.format == "auto" else files.format
    if name is None:
        raise PoolError(f"{label}: name the column that holds the prompt with --field: {explained(row)}")
    reader = Reader(files.format, name)
    return lambda fields: reader.read(fields)[1]
