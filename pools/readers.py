"""From a file or data set to rows, one at a time: what differs between sources, and nothing else."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from pools.errors import PoolError
from pools.flaws import Flaw

_BATCH_ROWS = 1024
_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_GZIP_RATIO = 5  # of text; between three and eight in practice
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_JSONL_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")


@dataclass(frozen=True, slots=True)
class Row:
    """One row: its number in the source (from 1), and its value or the flaw that keeps it from being read."""

    line: int
    value: object = None
    flaw: Flaw | None = None


class PoolSource(Protocol):
    """A stream of rows.

    `rows` starts from the beginning at each call, holds no more than a batch in memory, and never raises
    for bad content: an unreadable row comes out with its flaw, and reading goes on where that is possible.
    """

    @property
    def label(self) -> str:
        """What to call the source in messages: a path or an id."""
        ...

    def rows(self) -> Iterator[Row]:
        """The rows in order, numbered from 1."""
        ...

    def fraction(self) -> float:
        """How much of the source the running `rows` has read, in [0, 1]; 0 where it cannot tell."""
        ...

    def size(self) -> int:
        """About how many bytes all rows have, uncompressed."""
        ...


class MemorySource:
    """Rows held in a list: the twin that tests and programs use in place of a file."""

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


class JsonlSource:
    """One JSON value a line, UTF-8, plain or gzipped (told by content); blank lines are passed over."""

    def __init__(self, path: Path) -> None:
        self.label = str(path)
        self._path = path
        self._raw: BinaryIO | None = None
        self._size = max(_size_of(path), 1)

    def rows(self) -> Iterator[Row]:
        """The lines as rows; a damaged gzip ends the stream with a `damaged_file` row."""
        line = 0
        with self._path.open("rb") as self._raw:
            try:
                for line, content in enumerate(_lines(self._raw), start=1):
                    if content.strip():
                        yield _parsed(line, content.removeprefix(_BOM) if line == 1 else content)
            except (OSError, EOFError, zlib.error) as error:
                yield Row(line + 1, flaw=Flaw("damaged_file", str(error)))

    def fraction(self) -> float:
        """Share of the file's bytes read."""
        if self._raw is None:
            return 0.0
        return 1.0 if self._raw.closed else self._raw.tell() / self._size

    def size(self) -> int:
        """Bytes of the file, times five where it is compressed."""
        with self._path.open("rb") as raw:
            return self._size * (_GZIP_RATIO if raw.read(2) == _GZIP else 1)


class ParquetSource:
    """The rows of one Parquet file."""

    def __init__(self, path: Path) -> None:
        self.label = str(path)
        self._path = path
        self._read = 0
        self._total = 0
        _size_of(path)

    def rows(self) -> Iterator[Row]:
        """The rows, read a batch at a time; a damaged file ends the stream with a `damaged_file` row."""
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile

        self._read = 0
        try:
            with ParquetFile(self._path) as file:
                self._total = file.metadata.num_rows
                for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                    for value in batch.to_pylist():
                        self._read += 1
                        yield Row(self._read, value)
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
            groups = read_metadata(self._path)
        except (OSError, ArrowException):
            return 0
        return sum(groups.row_group(each).total_byte_size for each in range(groups.num_row_groups))


class DatasetSource:
    """One split of a Hugging Face data set: a hub id, or a folder (from `save_to_disk`, or of data files)."""

    def __init__(self, path: str, *, split: str, subset: str = "") -> None:
        self.label = f"{path}[{split}]"
        self._data = _open_dataset(path, split, subset)
        self._read = 0

    def rows(self) -> Iterator[Row]:
        """The rows of the split; damaged data end the stream with a `damaged_file` row."""
        from pyarrow import ArrowException

        self._read = 0
        try:
            for value in self._data:
                self._read += 1
                yield Row(self._read, value)
        except (OSError, ArrowException, UnicodeDecodeError) as error:
            yield Row(self._read + 1, flaw=Flaw("damaged_file", str(error)))

    def fraction(self) -> float:
        """Share of the rows read."""
        return self._read / max(len(self._data), 1)

    def size(self) -> int:
        """Bytes of the table that the split lies in."""
        data: Any = self._data
        return int(data.data.nbytes)


def open_source(path: str, *, split: str = "train", subset: str = "") -> PoolSource:
    """The source for `path`, told by its suffix or, for a folder or hub id, opened with `datasets`.

    Raises PoolError for a path that is neither.
    """
    place = Path(path).expanduser()
    name = place.name.lower()
    if name.endswith(".parquet"):
        return ParquetSource(place)
    if name.endswith(_JSONL_SUFFIXES):
        return JsonlSource(place)
    if place.is_file():
        known = ", ".join((*_JSONL_SUFFIXES, ".parquet"))
        raise PoolError(f'{path}: suffix "{place.suffix}" is none of {known}')
    if not place.exists() and not _HUB_ID.fullmatch(path):
        raise PoolError(f"{path}: no such file or folder, and a hub id would be NAME or OWNER/NAME")
    return DatasetSource(path, split=split, subset=subset)


def _size_of(path: Path) -> int:
    """Bytes of a file that can be opened; PoolError where it cannot."""
    try:
        with path.open("rb"):
            return path.stat().st_size
    except OSError as error:
        raise PoolError(f"{path}: {error.strerror or error}") from None


def _lines(raw: BinaryIO) -> Iterator[bytes]:
    zipped = raw.read(2) == _GZIP
    raw.seek(0)
    return iter(gzip.GzipFile(fileobj=raw) if zipped else raw)


def _parsed(line: int, content: bytes) -> Row:
    try:
        return Row(line, json.loads(content.decode("utf-8")))
    except UnicodeDecodeError as error:
        return Row(line, flaw=Flaw("bad_utf8", f"byte {error.start + 1}: {error.reason}"))
    except (ValueError, RecursionError) as error:
        return Row(line, flaw=Flaw("malformed_line", str(error)))


def _open_dataset(path: str, split: str, subset: str) -> Sequence[object]:
    import datasets

    place = Path(path).expanduser()
    try:
        if (place / "dataset_dict.json").is_file() or (place / "state.json").is_file():
            data = _saved_split(datasets.load_from_disk(str(place)), path, split)
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
