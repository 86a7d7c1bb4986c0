"""Where checkpoints lie: a folder of the machine, or an object store that pyarrow reaches."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from pools.errors import CheckpointError
from trainers.context import WorkerContext, Writer
from trainers.together import together

# What a full or read-only disk raises; torch's own writer makes it a RuntimeError.
_UNWRITABLE = (OSError, RuntimeError)
SNAPSHOT = "checkpoint_manager_snapshot.json"  # Ray Train's own list of a run's checkpoints


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
        copy_files(own, path, destination_filesystem=filesystem, use_threads=False)
    return path


def discard(storage: str, name: str) -> None:
    """Delete all that the run `name` has left in `storage`, a folder or a URI; nothing there is no error."""
    filesystem, folder = _run(storage, name)
    if _exists(filesystem, folder):
        filesystem.delete_dir(folder)


def drop_broken(storage: str, name: str, ray_version: str) -> None:
    """Discard the run `name` if Ray Train would refuse to go on with it, so that it starts again instead.

    That is where its list of checkpoints was cut off while it was written, is another version's, or names
    a checkpoint that is gone.
    """
    filesystem, folder = _run(storage, name)
    if not _exists(filesystem, f"{folder}/{SNAPSHOT}"):
        return
    with filesystem.open_input_stream(f"{folder}/{SNAPSHOT}") as stream:
        text = stream.read().decode(errors="replace")
    try:
        known = json.loads(text)
        names = [result["checkpoint_dir_name"] for result in known["checkpoint_results"]]
        whole = known["ray_version"] == ray_version
    except (ValueError, KeyError, TypeError):
        names, whole = [], False
    if not whole or not all(_exists(filesystem, f"{folder}/{each}") for each in names):
        filesystem.delete_dir(folder)


def _run(storage: str, name: str) -> tuple[Any, str]:
    from pyarrow.fs import FileSystem

    filesystem, root = FileSystem.from_uri(storage)
    return filesystem, f"{root}/{name}"


def _exists(filesystem: Any, path: str) -> bool:
    from pyarrow.fs import FileType

    return bool(filesystem.get_file_info(path).type != FileType.NotFound)
