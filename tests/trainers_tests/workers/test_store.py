"""Checkpoints on a disk and in an object store: whole or not at all, and the newest is found."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from base.errors import CheckpointError
from trainers.workers.local import LocalContext
from trainers.workers.store import INDEX, Checkpoints, discard, names_in, save_local, save_remote


def full(folder: Path) -> None:
    (folder / "half").write_text("half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_checkpoint_before_and_no_rest(tmp_path: Path) -> None:
    context = LocalContext(checkpoints=tmp_path / "kept")
    context.save("step1", lambda folder: (folder / "a").write_text("1") and None)
    with pytest.raises(CheckpointError, match=r"No space left on device \([\d,]+ MiB are free in "):
        context.save("step2", full)
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"step1", INDEX}
    with context.restored() as folder:
        assert folder is not None and (folder / "a").read_text() == "1"


def test_a_checkpoint_replaces_one_of_a_run_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "step1").mkdir()
    (tmp_path / "step1" / "old").touch()
    (tmp_path / ".step1.partial").mkdir()
    save_local(tmp_path / "step1", lambda folder: (folder / "new").touch(), LocalContext())
    assert [path.name for path in tmp_path.rglob("*")] == ["step1", "new"]


def test_an_object_store_is_given_every_workers_files(tmp_path: Path) -> None:
    store = SubTreeFileSystem(str(tmp_path), LocalFileSystem())  # what is not local is copied to

    def write(folder: Path) -> None:
        (folder / "engine").mkdir()
        (folder / "engine" / "shard0").write_text("weights")
        (folder / "trial.json").write_text("{}")

    assert save_remote(store, "study/trial-a/step1", write, LocalContext()) == "study/trial-a/step1"
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"study/trial-a/step1/engine/shard0", "study/trial-a/step1/trial.json"}
    with pytest.raises(CheckpointError, match="No space left"):
        save_remote(store, "study/trial-a/step2", full, LocalContext())


def test_what_a_run_left_is_discarded_and_nothing_else(tmp_path: Path) -> None:
    for name in ("trial-a", "trial-b"):
        (tmp_path / name / "step1").mkdir(parents=True)
    discard(str(tmp_path), "trial-a")
    discard(str(tmp_path), "trial-a")
    assert names_in(str(tmp_path)) == {"trial-b"}
    assert names_in(str(tmp_path / "nowhere")) == set()


@pytest.mark.parametrize("left", ["cut off", "without its checkpoint", "whole", "nothing"])
def test_a_run_whose_list_cannot_be_trusted_starts_again(tmp_path: Path, left: str) -> None:
    run = tmp_path / "trial-a"
    (run / ("step2" if left == "without its checkpoint" else "step1")).mkdir(parents=True)
    if left != "nothing":
        (run / INDEX).write_text('["st' if left == "cut off" else '["step1"]')
    with Checkpoints(str(tmp_path), "trial-a").newest() as folder:
        assert folder == (run / "step1" if left == "whole" else None)


@pytest.mark.parametrize("store", ["local", "remote"])
def test_the_last_checkpoints_are_kept_and_the_newest_found(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(folder: Path) -> None:
        (folder / "a").write_text("new")

    kept = Checkpoints(str(tmp_path), "trial-a", keep=2)
    if store == "remote":
        monkeypatch.setattr(kept, "_filesystem", SubTreeFileSystem(str(tmp_path), LocalFileSystem()))
        monkeypatch.setattr(kept, "_folder", "trial-a")
    for name in ("step1", "step2", "step3"):
        kept.save(name, write, LocalContext())
    with pytest.raises(CheckpointError, match="No space left"):
        kept.save("step4", full, LocalContext())
    assert {path.name for path in (tmp_path / "trial-a").iterdir()} == {"step2", "step3", INDEX}
    with kept.newest() as folder:
        assert folder is not None and (folder / "a").read_text() == "new"
        assert (folder == tmp_path / "trial-a" / "step3") == (store == "local")
