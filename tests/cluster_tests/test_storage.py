"""A study's folder outlives the head: it is copied as it changes, and a new head goes on from the copy."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import search.study.mirror
from base.errors import ConfigError
from search.cluster.config import ClusterConfig
from search.study.mirror import Mirror, mirrored


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A study's folder as a run leaves it, with what must stay behind."""
    path = tmp_path / "head" / "smoke"
    for name, text in {
        "config.yaml": "name: smoke",
        "trials/a.json": "{}",
        "attempts/a.json": "{}",
        "reward_model/head.json": "{}",
        "ray/tune/state": "x",
        "mlflow.db": "x",
        "optuna.db-journal": "x",
        ".lock": "",
        "trials/.b.json.partial": "{",
    }.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text(text)
    return path


@pytest.fixture(params=["file://", ""], ids=["uri", "folder"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The same code path as for s3:// and gs://: a pyarrow file system."""
    return f"{request.param}{tmp_path}/bucket"


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


KEPT = {"config.yaml", "trials/a.json", "attempts/a.json", "reward_model/head.json"}


def test_a_new_head_gets_everything_back(folder: Path, storage: str, tmp_path: Path) -> None:
    said: list[str] = []
    with mirrored(folder, Mirror(storage, "smoke", fresh=False), said.append):
        (folder / "trials" / "b.json").write_text('{"late": 1}')
    assert said == [f"the study is also in {storage}/smoke"]
    new = tmp_path / "new head" / "smoke"
    new.mkdir(parents=True)
    with mirrored(new, Mirror(storage, "smoke", fresh=False), said.append):
        assert names(new) == KEPT | {"trials/b.json"}
    assert (new / "trials" / "b.json").read_text() == '{"late": 1}'
    assert "5 files of this study were brought back" in said[1]


def test_a_folder_that_holds_a_study_is_left_alone(folder: Path, storage: str) -> None:
    place = Mirror(storage, "smoke", fresh=False)
    place.push(folder)
    (folder / "config.yaml").write_text("name: newer")
    assert place.pull(folder) == 0
    assert (folder / "config.yaml").read_text() == "name: newer"


def test_a_copy_that_was_cut_short_is_brought_back_again(folder: Path, storage: str, tmp_path: Path) -> None:
    place = Mirror(storage, "smoke", fresh=False)
    place.push(folder)
    half = tmp_path / "half"
    (half / "trials").mkdir(parents=True)
    (half / "trials" / "a.json").write_text("{")
    assert place.pull(half) == len(KEPT)
    assert (half / "trials" / "a.json").read_text() == "{}"


def test_files_follow_within_seconds(folder: Path, storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search.study.mirror, "EVERY_S", 0.05)
    copy = Path(storage.removeprefix("file://")) / "smoke" / "study" / "trials" / "c.json"
    with mirrored(folder, Mirror(storage, "smoke", fresh=False), lambda _: None):
        (folder / "trials" / "c.json").write_text("1")
        deadline = time.monotonic() + 20
        while not copy.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert copy.read_text() == "1"


def test_only_what_changed_is_copied(folder: Path, storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Mirror(storage, "smoke", fresh=False)
    place.push(folder)
    copied: list[str] = []
    monkeypatch.setattr(place, "_put", lambda path, target: copied.append(path.name))
    place.push(folder)
    assert copied == []
    (folder / "trials" / "a.json").write_text('{"more": 1}')
    place.push(folder)
    assert copied == ["a.json"]


def test_a_fresh_study_leaves_the_earlier_one(folder: Path, storage: str, tmp_path: Path) -> None:
    first = Mirror(storage, "smoke", fresh=False)
    first.push(folder)
    second = Mirror(storage, "smoke", fresh=True)
    assert (first.uri, second.uri) == (f"{storage}/smoke", f"{storage}/smoke.2")
    assert second.checkpoints == f"{storage}/smoke.2/checkpoints"
    assert second.policies == f"{storage}/smoke.2/policies"
    assert second.pull(tmp_path / "none") == 0
    (folder / "config.yaml").write_text("name: second")
    second.push(folder)
    new = tmp_path / "new"
    assert Mirror(storage, "smoke", fresh=False).pull(new) == len(KEPT)
    assert (new / "config.yaml").read_text() == "name: second"


def test_trouble_is_told_once_and_tried_again(
    folder: Path, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search.study.mirror, "EVERY_S", 0.02)
    place, said = Mirror(storage, "smoke", fresh=False), []
    attempts = 0

    def fails(path: Path, target: str) -> None:
        nonlocal attempts
        attempts += 1
        raise OSError("no route to host")

    monkeypatch.setattr(place, "_put", fails)
    with mirrored(folder, place, said.append):
        deadline = time.monotonic() + 20
        while attempts < 3 and time.monotonic() < deadline:
            time.sleep(0.02)
    assert attempts >= 3
    assert said == [f"copying to {storage}/smoke fails, and is tried again: no route to host"]


def test_storage_that_cannot_be_used_is_refused_before_anything_starts(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot use the shared storage"):
        Mirror(f"{tmp_path}/file/below", "smoke", fresh=False)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("ftp://host/x", "expected one of s3://"),
        ("relative/folder", "or an absolute path"),
        ("s3://AKIA123:secret456@bucket/x", "carries a credential"),
        ("s3://bucket/x?secret_key=secret456", "carries a credential"),
    ],
)
def test_a_wrong_place_is_told_without_its_secret(value: str, message: str) -> None:
    for given, environ in (({"storage": value}, {}), ({}, {"APPORTION_STORAGE": value})):
        with pytest.raises(ValueError, match=message) as error:
            ClusterConfig.model_validate(given).shared(environ)
        assert "secret456" not in str(error.value)


def test_the_environment_stands_in_for_the_field() -> None:
    environ = {"APPORTION_STORAGE": "s3://bucket/studies/"}
    assert ClusterConfig().shared(environ) == "s3://bucket/studies"
    assert ClusterConfig(storage="/shared").shared(environ) == "/shared"
    assert ClusterConfig().shared({}) == ""
