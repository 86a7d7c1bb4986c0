"""A run's checkpoints, in a folder of the machine or in an object store that pyarrow reaches."""

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
from base.files import partial_of, write_whole
from trainers.workers.collectives import raise_on_all
from trainers.workers.context import WorkerContext, Writer

# What a full or read-only disk raises; torch's own writer makes it a RuntimeError.
_UNWRITABLE = (OSError, RuntimeError)
INDEX = "checkpoints.json"
RUNS = "runs"  # where Ray Train keeps files of its own


def save_local(folder: Path, write: Writer, context: WorkerContext) -> str:
    """Let every worker `write` into a hidden folder beside `folder`, then rename that to `folder`.

    A collective. Raises CheckpointError on all workers where one cannot write.
    """
    partial = partial_of(folder)
    try:
        with raise_on_all(context, *_UNWRITABLE, raising=CheckpointError):
            partial.mkdir(parents=True, exist_ok=True)
        with raise_on_all(context, *_UNWRITABLE, raising=CheckpointError):
            write(partial)
        with raise_on_all(context, *_UNWRITABLE, raising=CheckpointError):
            if context.rank == 0:
                shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed before listing it
                os.rename(partial, folder)
    except CheckpointError as error:
        reason = f"{error} ({_free_space(folder.parent)})"
        if context.rank == 0:
            shutil.rmtree(partial, ignore_errors=True)  # half a checkpoint may have filled the disk
        raise CheckpointError(reason) from error
    return str(folder)


def _free_space(folder: Path) -> str:
    """Which torch's message does not give for a full disk."""
    try:
        return f"{shutil.disk_usage(folder).free / 2**20:,.0f} MiB are free in {folder}"
    except OSError:
        return str(folder)


def save_remote(filesystem: Any, path: str, write: Writer, context: WorkerContext) -> str:
    """Let every worker `write` into a folder of its own and copy that to `path` of a pyarrow file system.

    An object store cannot rename: half a copy is harmless because the index does not list it. A collective;
    raises CheckpointError as `save_local` does.
    """
    from pyarrow.fs import copy_files

    with tempfile.TemporaryDirectory() as own, raise_on_all(context, *_UNWRITABLE, raising=CheckpointError):
        write(Path(own))
        filesystem.create_dir(path, recursive=True)
        copy_files(own, path, destination_filesystem=filesystem, use_threads=False)
    return path


def discard(storage: str, name: str) -> None:
    """Delete the files of the run `name` in `storage`, a folder or a URI; there may be none."""
    filesystem, folder = _run(storage, name)
    if _exists(filesystem, folder):
        filesystem.delete_dir(folder)


def names_in(storage: str) -> set[str]:
    """The names of all runs with files in `storage`, a folder or a URI."""
    from pyarrow.fs import FileSelector, FileSystem

    filesystem, root = FileSystem.from_uri(storage)
    found = filesystem.get_file_info(FileSelector(root, allow_not_found=True))
    return {info.base_name for info in found}


class Checkpoints:
    """The newest `keep` checkpoints of the run `name` in `storage`, a folder or a URI.

    An index file beside them lists those that are complete, the newest last: a checkpoint counts from the
    moment it is listed. Where the index cannot be read, or what it lists is gone, the run has no checkpoint
    and starts from the beginning.
    """

    def __init__(self, storage: str, name: str, *, keep: int = 1) -> None:
        self._filesystem, self._folder = _run(storage, name)
        self._keep = keep

    def save(self, name: str, write: Writer, context: WorkerContext) -> str:
        """See `WorkerContext.save`."""
        path = f"{self._folder}/{name}"
        if self._local:
            save_local(Path(path), write, context)
        else:
            save_remote(self._filesystem, path, write, context)
        with raise_on_all(context, *_UNWRITABLE, raising=CheckpointError):
            if context.rank == 0:
                self._keep_last([*(listed for listed in self._names() if listed != name), name])
        return path

    @contextmanager
    def newest(self) -> Iterator[Path | None]:
        """The newest complete checkpoint, as a folder of this machine; None where there is none."""
        from pyarrow.fs import copy_files

        complete = [name for name in self._names() if _exists(self._filesystem, f"{self._folder}/{name}")]
        if not complete:
            yield None
        elif self._local:
            yield Path(self._folder) / complete[-1]
        else:
            with tempfile.TemporaryDirectory() as own:
                path = f"{self._folder}/{complete[-1]}"
                copy_files(path, own, source_filesystem=self._filesystem, use_threads=False)
                yield Path(own)

    @property
    def _local(self) -> bool:
        from pyarrow.fs import LocalFileSystem

        return isinstance(self._filesystem, LocalFileSystem)

    def _names(self) -> list[str]:
        try:
            with self._filesystem.open_input_stream(f"{self._folder}/{INDEX}") as stream:
                return [str(name) for name in json.loads(stream.read())]
        except (OSError, ValueError, TypeError):
            return []

    def _keep_last(self, names: list[str]) -> None:
        """List the last of `names`, as many as are kept, in the index, and delete the others."""
        self._write_index(json.dumps(names[-self._keep :]))
        for name in names[: -self._keep]:
            with suppress(OSError):
                self._filesystem.delete_dir(f"{self._folder}/{name}")

    def _write_index(self, text: str) -> None:
        path = f"{self._folder}/{INDEX}"
        if self._local:
            write_whole(Path(path), text)
            return
        with self._filesystem.open_output_stream(path) as stream:  # an object store writes all or nothing
            stream.write(text.encode())


def _run(storage: str, name: str) -> tuple[Any, str]:
    from pyarrow.fs import FileSystem

    filesystem, root = FileSystem.from_uri(storage)
    return filesystem, f"{root}/{name}"


def _exists(filesystem: Any, path: str) -> bool:
    from pyarrow.fs import FileType

    return bool(filesystem.get_file_info(path).type != FileType.NotFound)
