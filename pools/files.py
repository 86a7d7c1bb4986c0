"""The files of a pool, wherever they lie: on this machine, or in an object store that pyarrow reaches."""

from __future__ import annotations

import glob
import io
import re
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from base.errors import ConfigError, PoolError

_PLAIN = (".jsonl", ".json", ".ndjson", ".csv", ".tsv")
_PACKED = (".gz", ".zst", ".bz2", ".xz")
TEXT_SUFFIXES = tuple(f"{plain}{packed}" for plain in _PLAIN for packed in ("", *_PACKED))
SUFFIXES = (*TEXT_SUFFIXES, ".parquet")
STORES = ("s3", "gs")
_BUFFER = 8 << 20  # bytes of one request to an object store, while a file is read line by line
_CREDENTIAL = re.compile(r"://[^/]*@|[?&](access|secret)_key=")


class File(NamedTuple):
    """A path or the URI of an object, and how many bytes it has."""

    location: str
    size: int


def is_uri(location: str) -> bool:
    """Whether this names something in an object store, rather than a path."""
    return "://" in location


def refuse_credential(location: str, name: str) -> None:
    """Raise ConfigError where the URI in the field `name` carries a key or a password; it is not repeated."""
    if _CREDENTIAL.search(location):
        raise ConfigError(
            f"{name} carries a credential: keep it out of configurations. Machines of a cloud have a role "
            "of their own; elsewhere use the cloud's environment variables or its file of credentials"
        )


def is_data(location: str) -> bool:
    """Whether the name is that of a file that a pool can be read from."""
    name = location.partition("?")[0] if is_uri(location) else location
    return name.lower().endswith(SUFFIXES)


def delimiter_of(location: str) -> str:
    """What parts the values of a table with this name; empty for files of JSON."""
    name = (location.partition("?")[0] if is_uri(location) else location).lower()
    for packed in _PACKED:
        name = name.removesuffix(packed)
    return "," if name.endswith(".csv") else "\t" if name.endswith(".tsv") else ""


def opened(location: str) -> BinaryIO:
    """The file's bytes from the beginning; raises OSError or ValueError."""
    if not is_uri(location):
        return Path(location).open("rb")
    stream: Any = for_arrow(location)  # a raw stream in all but its type
    return io.BufferedReader(stream, _BUFFER)


def for_arrow(location: str) -> Any:
    """What pyarrow's own readers take: the path, or the opened object; raises OSError or ValueError."""
    if not is_uri(location):
        return location
    filesystem, path = _reached(location)
    return filesystem.open_input_file(path)


def size_of(location: str) -> int:
    """Bytes of a file that can be opened; PoolError where it cannot."""
    try:
        with opened(location) as file:
            return file.seek(0, io.SEEK_END)
    except (OSError, ValueError) as error:
        raise PoolError(f"{location}: {getattr(error, 'strerror', None) or error}") from None


def named_files(path: str) -> list[File]:
    """The files that a URI or a pattern names; none for any other path. Raises PoolError as those do."""
    if is_uri(path):
        return stored_files(path)
    return local_files(path) if glob.has_magic(path) and not Path(path).expanduser().exists() else []


def stored_files(uri: str) -> list[File]:
    """The files that a URI names: one object, all data files of a folder, or those that match a pattern.

    Sorted. Patterns know `*`, `**` and `[...]`; a `?` begins what pyarrow is told of the store. Raises
    PoolError where the store cannot be read, or holds none.
    """
    scheme, _, path = uri.partition("://")
    if scheme not in STORES or not path.partition("/")[0]:
        choices = " or ".join(f"{known}://BUCKET/PATH" for known in STORES)
        raise PoolError(f"{uri}: expected {choices}, a path, or a hub id")
    _, mark, query = uri.partition("?")
    if mark and not re.match(r"\w+=", query):
        raise PoolError(f"{uri}: a pattern for an object store knows *, ** and [...]; ? begins its options")
    try:
        return _listed(uri)
    except PoolError:
        raise
    except (OSError, ValueError) as error:
        raise PoolError(f"{uri} cannot be read: {error}") from error


def _listed(uri: str) -> list[File]:
    from fsspec.utils import glob_translate
    from pyarrow.fs import FileSelector, FileType

    filesystem, path = _reached(uri)
    scheme, mark, query = uri.partition("://")[0], *uri.partition("?")[1:]
    found = filesystem.get_file_info(path)
    if found.type == FileType.Directory:
        infos = filesystem.get_file_info(FileSelector(path, recursive=True))
    elif found.type == FileType.NotFound and glob.has_magic(path):
        plain = re.split(r"[*[]", path, maxsplit=1)[0].rpartition("/")[0]
        below = FileSelector(plain, recursive="/" in path[len(plain) + 1 :])
        wanted = re.compile(glob_translate(path))
        infos = [info for info in filesystem.get_file_info(below) if wanted.match(info.path)]
    else:
        infos = [found]
    files = {f"{scheme}://{info.path}{mark}{query}": int(info.size or 0) for info in infos if info.is_file}
    return _sorted(uri, files, path if found.type == FileType.Directory else "")


def local_files(path: str) -> list[File]:
    """The data files in a folder, or those that match a pattern (`*`, `**`, `?`, `[...]`), sorted.

    Raises PoolError where a pattern matches nothing, or something that is no data file.
    """
    location = Path(path).expanduser()
    folder = str(location) if location.is_dir() else ""
    found = location.rglob("*") if folder else map(Path, glob.glob(str(location), recursive=True))
    return _sorted(path, {str(each): each.stat().st_size for each in found if each.is_file()}, folder)


def _sorted(asked: str, sizes: dict[str, int], folder: str) -> list[File]:
    """The files in order; of a folder the data files that no dot or underscore hides from other programs."""
    if folder:
        hidden = re.compile(r"/[._]")
        kept = (each for each in sizes if is_data(each) and not hidden.search(each.partition(folder)[2]))
        sizes = {location: sizes[location] for location in kept}
    known = ", ".join(SUFFIXES)
    if not sizes:
        raise PoolError(f"{asked}: no file matches; a pool's files end in one of {known}")
    if other := [location for location in sizes if not is_data(location)]:
        raise PoolError(f"{asked}: {min(other)} is no file of a pool, which ends in one of {known}")
    return [File(location, sizes[location]) for location in sorted(sizes)]


def _reached(uri: str) -> tuple[Any, str]:
    """pyarrow's file system for a URI, and the path there, letter by letter as it is written."""
    from pyarrow.fs import FileSystem

    location, mark, query = uri.partition("?")
    scheme, _, path = location.partition("://")
    filesystem, _ = FileSystem.from_uri(f"{scheme}://{path.partition('/')[0]}{mark}{query}")
    return filesystem, path.rstrip("/")
