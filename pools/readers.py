"""From a file or data set to rows, one at a time: what differs between sources, and nothing else."""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

from base.errors import PoolError
from pools.files import (
    SUFFIXES,
    TEXT_SUFFIXES,
    File,
    delimiter_of,
    for_arrow,
    is_uri,
    local_files,
    named_files,
    opened,
    size_of,
)
from pools.flaws import Flaw
from pools.formats.draft import Fields
from pools.formats.oasst import is_message, tree_of
from pools.text_files import DAMAGE, Row, json_rows, packed_as, table_rows

_BATCH_ROWS = 1024
_PACKED_RATIO = 5  # of text; between three and eight in practice
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_ROWS_OF_A_FILE = 1 << 40  # more than any file has
_OWN_FILES = ("dataset_dict.json", "state.json", "dataset_infos.json", "README.md")  # of data sets


class PoolSource(Protocol):
    """A stream of rows.

    `label` is what to call it in messages, a path or an id. `files` are those of a source that is several.
    `rows` starts from the beginning at each call, holds no more than a batch in memory, and never raises
    for bad content: an unreadable row comes out with its flaw, and reading goes on where that is possible.
    """

    label: str
    files: tuple[File, ...] = ()

    def rows(self) -> Iterator[Row]:
        """The rows in order, numbered from 1."""
        ...

    def fraction(self) -> float:
        """How much of the source the running `rows` has read, in [0, 1]; 0 where it cannot tell."""
        ...

    def size(self) -> int:
        """About how many bytes all rows have, uncompressed."""
        ...

    def sources(self) -> Iterator[PoolSource]:
        """Each file of a source that has several, else the source itself; PoolError where one is gone."""
        yield self

    def name(self) -> str:
        """What a pool that does not say its name is called: the file's or data set's, without ending."""
        return _without_ending(self.label)


class MemorySource(PoolSource):
    """Rows held in a list: the twin that tests and programs use in location of a file."""

    def __init__(self, values: Sequence[object], label: str = "memory") -> None:
        self.label = label
        self._values = values
        self._read = 0

    def rows(self) -> Iterator[Row]:
        """The values as rows."""
        for line, value in enumerate(self._values, start=1):
            self._read = line
            yield Row(line, value)

    def fraction(self) -> float:
        """Share of the values read."""
        return self._read / max(len(self._values), 1)

    def size(self) -> int:
        """Length of the values as Python writes them."""
        return sum(len(repr(value)) for value in self._values)


class TextSource(PoolSource):
    """A file of JSON lines, a JSON array, CSV or TSV, plain or compressed (detected by content).

    Blank lines are passed over.
    """

    def __init__(self, location: Path | str) -> None:
        self.label = str(location)
        self._raw: BinaryIO | None = None
        self._size = max(size_of(self.label), 1)

    def rows(self) -> Iterator[Row]:
        """The rows; damage, to a gzip say, ends the stream with a `damaged_file` row."""
        last, delimiter = 0, delimiter_of(self.label)
        with opened(self.label) as self._raw:
            try:
                for row in table_rows(self._raw, delimiter) if delimiter else json_rows(self._raw):
                    last = row.line
                    yield row
            except DAMAGE as error:
                yield Row(last + 1, flaw=Flaw("damaged_file", str(error)))

    def fraction(self) -> float:
        """Share of the file's bytes read."""
        if self._raw is None:
            return 0.0
        return 1.0 if self._raw.closed else self._raw.tell() / self._size

    def size(self) -> int:
        """Bytes of the file, times five where it is compressed."""
        with opened(self.label) as raw:
            return self._size * (_PACKED_RATIO if packed_as(raw.read(4)) else 1)


class ParquetSource(PoolSource):
    """The rows of one Parquet file."""

    def __init__(self, location: Path | str) -> None:
        self.label = str(location)
        self._read = 0
        self._total = 0
        size_of(self.label)

    def rows(self) -> Iterator[Row]:
        """The rows, read a batch at a time; a damaged file ends the stream with a `damaged_file` row."""
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile

        self._read = 0
        try:
            with ParquetFile(for_arrow(self.label)) as file:
                self._total = file.metadata.num_rows
                classes = _classes_in(file.schema_arrow.metadata or {})
                for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                    for value in batch.to_pylist():
                        self._read += 1
                        yield Row(self._read, _by_name(value, classes) if classes else value)
        except (OSError, ArrowException, UnicodeDecodeError) as error:
            yield Row(self._read + 1, flaw=Flaw("damaged_file", str(error)))

    def fraction(self) -> float:
        """Share of the rows read."""
        return self._read / max(self._total, 1)

    def size(self) -> int:
        """Bytes of all columns, uncompressed; 0 for a file that cannot be read."""
        from pyarrow import ArrowException
        from pyarrow.parquet import read_metadata

        try:
            groups = read_metadata(for_arrow(self.label))
        except (OSError, ArrowException, UnicodeDecodeError):
            return 0
        return sum(groups.row_group(each).total_byte_size for each in range(groups.num_row_groups))


def _classes_in(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """The names of the classes of each column that holds their numbers, as `datasets` writes them there."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return {
            name: list(map(str, feature["names"]))
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (KeyError, ValueError, TypeError, AttributeError):  # another program's metadata
        return {}


def _by_name(value: Any, classes: Mapping[str, Sequence[str]]) -> Any:
    """The row with the names of its classes; a number that is none (-1: not labelled) becomes null."""
    named = {
        column: names[number]
        if isinstance(number := value.get(column), int) and 0 <= number < len(names)
        else None
        for column, names in classes.items()
    }
    return {**value, **named}


class DatasetSource(PoolSource):
    """One split of a Hugging Face data set: a hub id, or a folder (from `save_to_disk`, or of data files)."""

    def __init__(self, path: str, *, split: str, subset: str = "") -> None:
        self.label = f"{path}[{split}]"
        self._data = _open_dataset(path, split, subset)
        features: Mapping[str, Any] = getattr(self._data, "features", None) or {}
        named = {name: getattr(feature, "names", None) for name, feature in features.items()}
        self._classes = {name: names for name, names in named.items() if isinstance(names, list)}
        self._read = 0

    def rows(self) -> Iterator[Row]:
        """The rows of the split; damaged data end the stream with a `damaged_file` row."""
        from pyarrow import ArrowException

        self._read = 0
        try:
            for value in self._data:
                self._read += 1
                yield Row(self._read, _by_name(value, self._classes) if self._classes else value)
        except (OSError, ArrowException, UnicodeDecodeError) as error:
            yield Row(self._read + 1, flaw=Flaw("damaged_file", str(error)))

    def fraction(self) -> float:
        """Share of the rows read."""
        return self._read / max(len(self._data), 1)

    def size(self) -> int:
        """Bytes of the table that the split lies in."""
        data: Any = self._data
        return int(data.data.nbytes)


class FilesSource(PoolSource):
    """Several files, one after another in the order given; lines are counted in each of them."""

    def __init__(self, label: str, files: Sequence[File]) -> None:
        self.label = label
        self.files = tuple(files)
        self._done = 0
        self._now: PoolSource | None = None

    def sources(self) -> Iterator[PoolSource]:
        """See `PoolSource`."""
        self._done = 0
        for location, size in self.files:
            self._now = open_file(location)
            yield self._now
            self._done, self._now = self._done + size, None

    def rows(self) -> Iterator[Row]:
        """The rows of all files."""
        for source in self.sources():
            yield from source.rows()

    def fraction(self) -> float:
        """Share of the files' bytes that is read."""
        now = 0.0
        if self._now is not None:
            now = self._now.fraction() * next(
                size for location, size in self.files if location == self._now.label
            )
        return (self._done + now) / max(sum(file.size for file in self.files), 1)

    def size(self) -> int:
        """Bytes of the files, uncompressed as those of the first file with the same ending are."""
        total = 0.0
        for suffix in {Path(file.location).suffix for file in self.files}:
            alike = [file for file in self.files if Path(file.location).suffix == suffix]
            ratio = open_file(alike[0].location).size() / max(alike[0].size, 1)
            total += ratio * sum(file.size for file in alike)
        return int(total)

    def name(self) -> str:
        """The last part of the path that is no pattern, without ending."""
        plain = self.label.partition("?")[0] if is_uri(self.label) else self.label
        parts = (part for part in reversed(Path(plain).parts) if not glob.has_magic(part))
        return _without_ending(next(parts, plain))


def _without_ending(label: str) -> str:
    return re.split(r"[.\[]", Path(label).name)[0] or label


class Placed(NamedTuple):
    """A row, its location as `file:line`, and a number that rises in the order in which rows are read."""

    at: int
    location: str
    row: Row


def placed(file: PoolSource, number: int) -> Iterator[Placed]:
    """The rows of the `number`-th file of a pool, without its header."""
    for index, row in enumerate(whole_rows(file)):
        if index or header(row) is None:
            yield Placed(number * _ROWS_OF_A_FILE + index, f"{file.label}:{row.line}", row)


def whole_rows(source: PoolSource) -> Iterator[Row]:
    """The rows of a source; of OpenAssistant's flat files, where each is a message, one for each tree."""
    rows = source.rows()
    first = next(rows, None)
    if first is None:
        return
    if isinstance(first.value, dict) and is_message(first.value):
        yield from _trees(first, rows)
    else:
        yield first
        yield from rows


def _trees(first: Row, others: Iterator[Row]) -> Iterator[Row]:
    """Messages that follow each other in one tree as a row, which is numbered by the first of them."""
    for _, group in groupby(chain([first], others), key=_tree_of):
        messages = list(group)
        if isinstance(messages[0].value, dict) and is_message(messages[0].value):
            yield Row(messages[0].line, tree_of([cast(Fields, each.value) for each in messages]))
        else:
            yield from messages


def _tree_of(row: Row) -> object:
    return row.value.get("message_tree_id") if isinstance(row.value, dict) else row.line


def header(first: Row) -> Mapping[str, object] | None:
    """What a file's first row `{"pool": {...}}` says of the pool, or None where that is an example."""
    value = first.value
    if isinstance(value, dict) and value.keys() == {"pool"} and isinstance(value["pool"], dict):
        return value["pool"]
    return None


def open_file(location: str) -> PoolSource:
    """The source for one file, known by its suffix; raises PoolError."""
    if location.partition("?")[0].lower().endswith(".parquet"):
        return ParquetSource(location)
    return TextSource(location)


def open_source(path: str, *, split: str = "train", subset: str = "") -> PoolSource:
    """The source for `path`: a file, a folder, a pattern, an object store's URI, or a hub id.

    A file is known by its suffix; folders that are more than data files, and hub ids, are opened with
    `datasets`, for which alone `split` and `subset` are. Raises PoolError for a path that is nothing of that.
    """
    if named := named_files(path):
        return FilesSource(path, named)
    location = Path(path).expanduser()
    if location.is_dir() and (split, subset) == ("train", "") and (files := _one_split(location)):
        return FilesSource(path, files)
    name = location.name.lower()
    if name.endswith(".parquet"):
        return ParquetSource(location)
    if name.endswith(TEXT_SUFFIXES):
        return TextSource(location)
    if location.is_file():
        raise PoolError(f'{path}: suffix "{location.suffix}" is none of {", ".join(SUFFIXES)}')
    if not location.exists() and not _HUB_ID.fullmatch(path):
        raise PoolError(f"{path}: no such file or folder, and a hub id would be NAME or OWNER/NAME")
    return DatasetSource(path, split=split, subset=subset)


def _one_split(folder: Path) -> list[File]:
    """The files of a folder that is data alone, of which `datasets`, too, would make one split; else none."""
    from datasets.data_files import get_data_patterns

    if any((folder / name).exists() for name in _OWN_FILES):
        return []
    try:
        files = local_files(str(folder))
        return files if get_data_patterns(str(folder)).keys() == {"train"} else []
    except (PoolError, OSError, ValueError):  # nothing to be read: `datasets` says so
        return []


def _open_dataset(path: str, split: str, subset: str) -> Sequence[object]:
    import datasets

    location = Path(path).expanduser()
    try:
        if (location / "dataset_dict.json").is_file() or (location / "state.json").is_file():
            data = _saved_split(datasets.load_from_disk(str(location)), path, split)
        else:
            data = datasets.load_dataset(path, subset or None, split=split)
    except PoolError:
        raise
    except Exception as error:  # the library raises its own, the hub's, the network's and Arrow's
        raise PoolError(_why_no_dataset(path, error)) from error
    return cast(Sequence[object], data)


def _saved_split(saved: object, path: str, split: str) -> object:
    """The split of a saved set of splits; a saved single split counts as `train`."""
    splits = saved if isinstance(saved, dict) else {"train": saved}
    if split not in splits:
        raise PoolError(f'{path}: no split "{split}"; it holds {", ".join(sorted(splits))}')
    return splits[split]


def _why_no_dataset(path: str, error: Exception) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if Path(path).exists():
        return f"{path}: not a data set that can be read: {reason}"
    return (
        f"{path}: no such file or folder, and no Hugging Face data set of that name could be loaded "
        f"({reason}). Without network, give a local file or a folder written by save_to_disk"
    )
