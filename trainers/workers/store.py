"""Where checkpoints lie: a folder of the machine, or an object store that pyarrow reaches."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from base.errors import CheckpointError
from trainers.workers.collectives import together
from trainers.workers.context import WorkerContext, Writer

# What a full or read-only disk raises; torch's own writer makes it a RuntimeError.
_UNWRITABLE = (OSError, RuntimeError)
LIST = "checkpoints.json"
RUNS = "runs"  # where Ray Train notes what it needs for itself


def keep_local(folder: Path, write: Writer, context: WorkerContext) -> str:
    """Let every worker `write` into a hidden folder beside `folder`, then give it that name at once."""
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        with together(context, *_UNWRITABLE, raising=CheckpointError):
            partial.mkdir(parents=True, exist_ok=True)
        with together(context, *_UNWRITABLE, raising=CheckpointError):
            write(partial)
        with together(context, *_UNWRITABLE, raising=CheckpointError):
            if context.rank == 0:
                shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed before it was known
                os.rename(partial, folder)
    except CheckpointError as error:
        reason = f"{error} ({_room(folder.parent)})"
        if context.rank == 0:
            shutil.rmtree(partial, ignore_errors=True)  # what was written of it may have filled the disk
        raise CheckpointError(reason) from error
    return str(folder)


def _room(folder: Path) -> str:
    """What torch does not say of a disk that is full."""
    try:
        return f"{shutil.disk_usage(folder).free / 2**20:,.0f} MiB are free in {folder}"
    except OSError:
        return str(folder)


def keep_remote(filesystem: Any, path: str, write: Writer, context: WorkerContext) -> str:
    """Let every worker `write` into a folder of its own and copy that to `path` of a pyarrow file system.

    An object store renames nothing: half a copy is harmless because nobody was told its name.
    """
    from pyarrow.fs import copy_files

    with tempfile.TemporaryDirectory() as own, together(context, *_UNWRITABLE, raising=CheckpointError):
        write(Path(own))
        filesystem.create_dir(path, recursive=True)
        copy_files(own, path, destination_filesystem=filesystem, use_threads=False)
    return path


def discard(storage: str, name: str) -> None:
    """Delete all that the run `name` has left in `storage`, a folder or a URI; nothing there is no error."""
    filesystem, folder = _run(storage, name)
    if _exists(filesystem, folder):
        filesystem.delete_dir(folder)


class Checkpoints:
    """The newest checkpoints of one run, in `folder` of a machine or an object store, and how they are found.

    A list beside them names those that are whole, the newest last: a checkpoint counts from the moment the
    list names it. Where the list cannot be read, or what it names is gone, the run has none and starts again.
    """

    def __init__(self, storage: str, name: str, *, keep: int = 1) -> None:
        self._filesystem, self._folder = _run(storage, name)
        self._keep = keep

    def save(self, name: str, write: Writer, context: WorkerContext) -> str:
        """See `WorkerContext.save`."""
        path = f"{self._folder}/{name}"
        if self._local:
            keep_local(Path(path), write, context)
        else:
            keep_remote(self._filesystem, path, write, context)
        with together(context, *_UNWRITABLE, raising=CheckpointError):
            if context.rank == 0:
                self._list([*(known for known in self._names() if known != name), name])
        return path

    @contextmanager
    def newest(self) -> Iterator[Path | None]:
        """The newest whole checkpoint, as a folder of this machine; None where there is none."""
        from pyarrow.fs import copy_files

        whole = [name for name in self._names() if _exists(self._filesystem, f"{self._folder}/{name}")]
        if not whole:
            yield None
        elif self._local:
            yield Path(self._folder) / whole[-1]
        else:
            with tempfile.TemporaryDirectory() as own:
                path = f"{self._folder}/{whole[-1]}"
                copy_files(path, own, source_filesystem=self._filesystem, use_threads=False)
                yield Path(own)

    @property
    def _local(self) -> bool:
        from pyarrow.fs import LocalFileSystem

        return isinstance(self._filesystem, LocalFileSystem)

    def _names(self) -> list[str]:
        try:
            with self._filesystem.open_input_stream(f"{self._folder}/{LIST}") as stream:
                return [str(name) for name in json.loads(stream.read())]
        except (OSError, ValueError, TypeError):
            return []

    def _list(self, names: list[str]) -> None:
        """Name the last of `names` as those that are kept, at once, and delete the others."""
        path = f"{self._folder}/{LIST}"
        partial = f"{self._folder}/.{LIST}.partial" if self._local else path  # a store writes at once or not
        with self._filesystem.open_output_stream(partial) as stream:
            stream.write(json.dumps(names[-self._keep :]).encode())
        if self._local:
            os.replace(partial, path)
        for name in names[: -self._keep]:
            with suppress(OSError):
                self._filesystem.delete_dir(f"{self._folder}/{name}")


def _run(storage: str, name: str) -> tuple[Any, str]:
    from pyarrow.fs import FileSystem

    filesystem, root = FileSystem.from_uri(storage)
    return filesystem, f"{root}/{name}"


def _exists(filesystem: Any, path: str) -> bool:
    from pyarrow.fs import FileType

    return bool(filesystem.get_file_info(path).type != FileType.NotFound)
