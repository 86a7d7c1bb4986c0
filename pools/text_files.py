"""Rows of text files: JSON lines, JSON arrays, CSV and TSV, compressed or not, in UTF-8 or UTF-16."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, NamedTuple, Protocol, TypeVar, cast

from pools.flaws import Flaw

BOM = codecs.BOM_UTF8
_PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zX": "xz"}
_NO_TEXT = {b"PK\x03\x04": "a zip archive: unpack it", b"PAR1": "a Parquet file: name it .parquet"}
DAMAGE = (
    OSError,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    UnicodeError,
)  # what reading a damaged file raises; Arrow's are OSErrors
_CHUNK = 1 << 20  # characters of an array that are read at once
_PEEK = 256
_BLANKS = re.compile(r"\s*")
MAX_ROW = 8 << 20  # bytes or characters: a small file can unpack to one line that no memory holds

csv.field_size_limit(MAX_ROW)  # the library's own limit is below many a response


class Row(NamedTuple):
    """One row: its number in the source (from 1), and its value or the flaw that keeps it from being read."""

    line: int
    value: object = None
    flaw: Flaw | None = None


def packed_as(start: bytes) -> str:
    """How a file with these first four bytes is compressed: `gzip`, `zstd`, `bzip2`, `xz`, or empty."""
    return next((name for mark, name in _PACKED.items() if start.startswith(mark)), "")


def unpacked(raw: BinaryIO) -> io.BufferedIOBase:
    """The stream decompressed, which its first bytes tell; damage raises one of `DAMAGE` while reading."""
    start = raw.read(4)
    raw.seek(0)
    kind = packed_as(start)
    if start in _NO_TEXT:
        raise OSError(f"it is {_NO_TEXT[start]}")
    if kind == "bzip2":
        return cast(io.BufferedIOBase, bz2.BZ2File(raw))
    if kind == "xz":
        return cast(io.BufferedIOBase, lzma.LZMAFile(raw))
    if kind == "gzip":
        return cast(io.BufferedIOBase, gzip.GzipFile(fileobj=raw))
    if kind == "zstd":
        import pyarrow

        return io.BufferedReader(pyarrow.CompressedInputStream(raw, "zstd"))
    return cast(io.BufferedIOBase, raw)


def json_rows(raw: BinaryIO) -> Iterator[Row]:
    """The values of a file of JSON lines, or the items of one that is an array; blank lines are passed over.

    Rows are numbered by their lines, in arrays by their items.
    """
    stream = unpacked(raw)
    start = stream.peek(_PEEK)[:_PEEK]  # type: ignore[attr-defined]
    encoding = _encoding(start)
    if start.removeprefix(BOM).lstrip()[:1] == b"[" or encoding != "utf-8":
        yield from _of_text(io.TextIOWrapper(cast(BinaryIO, stream), encoding, errors="surrogateescape"))
        return
    for line, content in _lines(stream):
        if not content.isspace():
            yield parsed_line(line, content)


Text = TypeVar("Text", str, bytes, covariant=True)


class _Readable(Protocol[Text]):
    def readline(self, limit: int, /) -> Text: ...


def _lines(stream: _Readable[Text], first: int = 1) -> Iterator[tuple[int, Text]]:
    """The lines and their numbers; of one that is too long the beginning, a little over MAX_ROW."""
    line = first
    while content := stream.readline(MAX_ROW + 1):
        yield line, content
        line += 1
        while len(content) > MAX_ROW and content[-1:] not in ("\n", b"\n"):
            content = stream.readline(MAX_ROW + 1)


def parsed_line(line: int, content: bytes) -> Row:
    """One line of JSON."""
    if len(content) > MAX_ROW:
        return Row(line, flaw=Flaw("malformed_line", _TOO_LONG))
    try:
        return Row(line, json.loads(content.removeprefix(BOM).decode("utf-8")))
    except UnicodeDecodeError as error:
        return Row(line, flaw=Flaw("bad_utf8", f"byte {error.start + 1}: {error.reason}"))
    except (ValueError, RecursionError) as error:
        return Row(line, flaw=Flaw("malformed_line", str(error)))


_TOO_LONG = f"it is longer than {MAX_ROW:,} bytes"


def _encoding(start: bytes) -> str:
    """The encoding by its mark or, of UTF-16 without one, by the zeros beside ASCII; else UTF-8."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if start[1:2] == b"\0":
        return "utf-16-le"
    return "utf-16-be" if start[:1] == b"\0" else "utf-8"


def _of_text(text: io.TextIOWrapper) -> Iterator[Row]:
    """The rows of a stream of characters: an array's items, and the lines after it or without one."""
    items = _Items(text)
    if items.opens():
        yield from items
        line, rest = items.count, items.rest
    else:
        line, rest = 0, items.rest
    for number, content in _lines(_Ahead(rest, text), line + 1):
        if not content.isspace():
            yield parsed_line(number, content.encode("utf-8", "surrogateescape"))


class _Ahead:
    """What was read ahead of a stream, and the stream."""

    def __init__(self, held: str, text: io.TextIOWrapper) -> None:
        self._held, self._text = io.StringIO(held, newline="\n"), text

    def readline(self, limit: int) -> str:
        """The next line, or as much of it as the limit allows."""
        line = self._held.readline(limit)
        done = line.endswith("\n") or len(line) == limit
        return line if done else line + self._text.readline(limit - len(line))


class _Items:
    """The items of a JSON array, read a chunk at a time; a bad item ends them, with its flaw.

    `count` is how many came, and `rest` what was read beyond the array.
    """

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text, self._chunk = text, _CHUNK
        self.rest, self.count = text.read(_PEEK).removeprefix("\ufeff"), 0
        self._decode = json.JSONDecoder().raw_decode

    def opens(self) -> bool:
        """Whether an array begins here."""
        return self.rest.lstrip()[:1] == "["

    def __iter__(self) -> Iterator[Row]:
        self.rest = self.rest.lstrip()[1:]
        position = 0
        while True:
            position = self._past_blanks(position)
            if self.rest[position : position + 1] == "]":
                self.rest = self.rest[position + 1 :].lstrip()
                return
            self.count += 1
            try:
                value, position = self._item(position)
            except (ValueError, RecursionError) as error:
                yield Row(self.count, flaw=Flaw("malformed_line", f"item {self.count} of the array: {error}"))
                self.rest = ""
                self._drop_all()
                return
            yield Row(self.count, value)
            position = self._past_blanks(position)
            position += self.rest[position : position + 1] == ","
            if position > _CHUNK:
                self.rest, position = self.rest[position:], 0

    def _item(self, position: int) -> tuple[object, int]:
        """The next item and where it ends; more is read while it is not whole, twice as much each time."""
        while True:
            try:
                value, end = self._decode(self.rest, position)
                if end < len(self.rest) or not self._more():
                    self._chunk = _CHUNK
                    return value, end
            except ValueError:
                if len(self.rest) - position > MAX_ROW:
                    raise ValueError(_TOO_LONG) from None
                if not self._more():
                    raise

    def _past_blanks(self, position: int) -> int:
        while (position := cast(re.Match[str], _BLANKS.match(self.rest, position)).end()) == len(self.rest):
            self.rest, self._chunk, position = "", _CHUNK, 0
            if not self._more():
                break
        return position

    def _more(self) -> bool:
        read = self._text.read(self._chunk)
        self._chunk *= 2
        self.rest += read
        return bool(read)

    def _drop_all(self) -> None:
        while self._text.read(_CHUNK):
            pass


def table_rows(raw: BinaryIO, delimiter: str) -> Iterator[Row]:
    """The rows of a CSV or TSV file with a heading, values as texts, empty ones as null.

    A comma file whose heading has semicolons or tabs alone is read by those; a column without a name
    (pandas's index) is left out.
    """
    stream = unpacked(raw)
    encoding = _encoding(stream.peek(_PEEK)[:_PEEK])  # type: ignore[attr-defined]
    text = io.TextIOWrapper(cast(BinaryIO, stream), encoding, errors="surrogateescape", newline="")
    heading = next(_bounded(text), "").removeprefix("\ufeff")
    if delimiter == "," and "," not in heading:
        delimiter = next((other for other in ";\t" if other in heading), delimiter)
    lines = csv.reader(_with_first(heading, text), delimiter=delimiter, strict=True)
    try:
        names = [name.strip() for name in next(lines, [])]
    except csv.Error as error:
        yield Row(1, flaw=Flaw("malformed_line", str(error)))
        return
    named = [name for name in names if name and not name.startswith("Unnamed: ")]
    if repeated := sorted({name for name in named if named.count(name) > 1}):
        yield Row(1, flaw=Flaw("malformed_line", f"the heading names {', '.join(repeated)} twice"))
        return
    yield from _records(lines, names)


def _with_first(first: str, others: io.TextIOWrapper) -> Iterator[str]:
    yield first
    yield from _bounded(others)


def _bounded(text: io.TextIOWrapper) -> Iterator[str]:
    """The lines; EOFError, which is damage to the file, at one that is too long."""
    for _, line in _lines(text):
        if len(line) > MAX_ROW:
            raise EOFError(_TOO_LONG)
        yield line


def _records(lines: Any, names: list[str]) -> Iterator[Row]:
    while True:
        line = lines.line_num + 1
        try:
            values = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(line, flaw=Flaw("malformed_line", str(error)))
            continue
        if not any(values):
            continue
        if len(values) != len(names):
            yield Row(line, flaw=Flaw("malformed_line", f"{len(values)} values under {len(names)} columns"))
            continue
        yield Row(line, _record(names, values))


def _record(names: list[str], values: list[str]) -> Mapping[str, str | None]:
    return {
        name: value or None
        for name, value in zip(names, values, strict=True)
        if name and not name.startswith("Unnamed: ")
    }
