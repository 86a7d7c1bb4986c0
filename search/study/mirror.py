"""A study's folder on storage that outlives the head: copied as it changes, brought back to a new head."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from base.errors import ConfigError

EVERY_S = 5.0
# Ray's state is of no use elsewhere, and a large pool is read again. A database in use cannot be copied, nor
# need it be: what MLflow and Optuna hold is made again from this folder.
LEFT_OUT = ("ray", "pool", "mlartifacts")


class Mirror:
    """Where one study lies in the storage: results under `study`, and what workers keep there themselves.

    A `fresh` study gets a folder of its own beside the earlier ones (`name`, `name.2`, `name.3`, ...), of
    which the last is the current one. Raises ConfigError where the storage cannot be reached.
    """

    def __init__(self, storage: str, name: str, *, fresh: bool) -> None:
        from pyarrow.fs import FileSystem

        try:
            self._files, root = FileSystem.from_uri(storage)
            folder = self._last(root, name, fresh)
            self._root = f"{root}/{folder}/study"
            self._files.create_dir(self._root, recursive=True)
        except (OSError, ValueError) as error:
            raise ConfigError(f'cannot use the shared storage "{storage}": {error}') from error
        self.uri = f"{storage}/{folder}"
        self._sent: dict[str, tuple[int, int]] = {}

    @property
    def checkpoints(self) -> str:
        """Where Ray Train keeps its checkpoints."""
        return f"{self.uri}/checkpoints"

    @property
    def policies(self) -> str:
        """Where workers put trained policies."""
        return f"{self.uri}/policies"

    def _last(self, root: str, name: str, fresh: bool) -> str:
        number = 1
        while self._exists(f"{root}/{_numbered(name, number)}"):
            number += 1
        return _numbered(name, number if fresh else max(1, number - 1))

    def _exists(self, path: str) -> bool:
        from pyarrow.fs import FileType

        return bool(self._files.get_file_info(path).type != FileType.NotFound)

    def pull(self, folder: Path) -> int:
        """Bring the study to `folder`, if it holds none yet; returns how many files came."""
        from pyarrow.fs import FileSelector

        if (folder / "config.yaml").exists() or not self._exists(f"{self._root}/config.yaml"):
            return 0
        found = self._files.get_file_info(FileSelector(self._root, recursive=True))
        files = [info.path for info in found if info.is_file and not info.base_name.startswith(".")]
        # The configuration comes last: without it the folder counts as empty, and is brought back again.
        for path in sorted(files, key=lambda path: path.endswith("/study/config.yaml")):
            target = folder / path.removeprefix(f"{self._root}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            with self._files.open_input_file(path) as source:
                source.download(str(target))
        return len(files)

    def push(self, folder: Path) -> None:
        """Copy every file of `folder` that changed since it was last copied; raises OSError."""
        for path in _files(folder):
            name, status = str(path.relative_to(folder)), path.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            if self._sent.get(name) != stamp:
                self._put(path, f"{self._root}/{name}")
                self._sent[name] = stamp

    def _put(self, path: Path, target: str) -> None:
        """Copy one file so that nobody who reads `target` meets half of it."""
        parent, _, name = target.rpartition("/")
        self._files.create_dir(parent, recursive=True)
        # An object store shows whole objects alone, and cannot rename; a folder is the other way round.
        local = self._files.type_name == "local"
        partial = f"{parent}/.{name}.partial" if local else target
        with path.open("rb") as source, self._files.open_output_stream(partial) as out:
            out.upload(source)
        if local:
            self._files.move(partial, target)


@contextmanager
def mirrored(folder: Path, mirror: Mirror | None, say: Callable[[str], None]) -> Iterator[None]:
    """Keep `mirror` a few seconds behind `folder` while the block runs, and level with it at its end.

    Trouble is reported once and never ends a study: what could not be copied is tried again.
    """
    if mirror is None:
        yield
        return
    if brought := mirror.pull(folder):
        say(f"{brought} files of this study were brought back from {mirror.uri}")
    stop, copier = threading.Event(), _Copier(mirror, folder, say)
    thread = threading.Thread(target=copier.follow, args=(stop,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        if copier.push():
            say(f"the study is also in {mirror.uri}")


class _Copier:
    """Copies a folder, and reports trouble once."""

    def __init__(self, mirror: Mirror, folder: Path, say: Callable[[str], None]) -> None:
        self._mirror, self._folder, self._say = mirror, folder, say
        self._told = False

    def follow(self, stop: threading.Event) -> None:
        while not stop.wait(EVERY_S):
            self.push()

    def push(self) -> bool:
        try:
            self._mirror.push(self._folder)
        except OSError as error:
            if not self._told:
                self._say(f"copying to {self._mirror.uri} fails, and is tried again: {error}")
            self._told = True
            return False
        self._told = False
        return True


def _files(folder: Path) -> Iterator[Path]:
    for top in sorted(folder.iterdir()):
        if top.name not in LEFT_OUT and ".db" not in top.name and not top.name.startswith("."):
            below: Any = sorted(top.rglob("*")) if top.is_dir() else [top]
            yield from (path for path in below if path.is_file() and not path.name.startswith("."))


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}.{number}"
