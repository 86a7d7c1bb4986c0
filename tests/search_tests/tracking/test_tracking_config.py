"""Where a study is tracked, and that no secret gets into what is written or shown."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from pydantic import ValidationError

from search.cli import main
from search.tracking.config import TrackingConfig, redact, tracking_uri, where_to_look

ENV = {"MLFLOW_TRACKING_URI": "http://from-environment:5000"}


def test_configuration_wins_over_environment_over_the_study_folder(tmp_path: Path) -> None:
    configured = TrackingConfig(uri="http://configured:5000")
    assert tracking_uri(configured, tmp_path, ENV) == "http://configured:5000"
    assert tracking_uri(TrackingConfig(), tmp_path, ENV) == "http://from-environment:5000"
    assert tracking_uri(TrackingConfig(), tmp_path, {}) == f"sqlite:///{tmp_path}/mlflow.db"


def test_a_sqlite_path_comes_out_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        tracking_uri(TrackingConfig(uri="sqlite:///x.db"), Path("runs"), {}) == f"sqlite:///{tmp_path}/x.db"
    )
    assert (
        tracking_uri(TrackingConfig(), Path("runs/demo"), {}) == f"sqlite:///{tmp_path}/runs/demo/mlflow.db"
    )


@pytest.mark.parametrize(
    "uri",
    [
        "http://user:hunter2@host:5000",
        "https://hunter2@host",
        "postgresql://user:hunter2@db/mlflow",
        "postgresql+psycopg2://user:hunter2@db:5432/mlflow",
        "postgresql://user@db/mlflow?password=hunter2",
        "postgresql://user:hunter2/hunter2@hunter2@db/mlflow",
        "https://host/?access_token=hunter2",
    ],
)
def test_a_configured_credential_is_refused_and_not_repeated(uri: str) -> None:
    assert "hunter2" not in redact(uri)
    with pytest.raises(ValidationError, match="carries a credential") as refusal:
        TrackingConfig(uri=uri)
    assert "hunter2" not in str(refusal.value)


def test_the_command_line_does_not_repeat_a_credential(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "--tracking.uri", "http://user:hunter2@host:5000"]) == 2
    printed = capsys.readouterr()
    assert "MLFLOW_TRACKING_PASSWORD" in printed.err
    assert "hunter2" not in printed.out + printed.err


@pytest.mark.parametrize("uri", ["ftp://host", "mlflow.db", "htp://host:1", "sqlite"])
def test_an_unknown_scheme_is_refused_with_the_choices(uri: str) -> None:
    with pytest.raises(ValidationError, match="expected one of sqlite://"):
        TrackingConfig(uri=uri)


@pytest.mark.parametrize("uri", ["", "none", "http://host:5000", "postgresql://user@db/mlflow", "databricks"])
def test_ordinary_places_are_accepted(uri: str) -> None:
    assert TrackingConfig(uri=uri).uri == uri


def test_where_to_look_can_be_pasted_and_holds_no_secret() -> None:
    assert where_to_look("http://host:5000/") == "http://host:5000"
    assert where_to_look("http://u:hunter2@host:5000", "7").startswith(
        "http://***@host:5000/#/experiments/7/runs?"
    )
    command, address = where_to_look("sqlite:////a b/mlflow.db", "1").splitlines()
    assert shlex.split(command)[1:] == ["ui", "--backend-store-uri", "sqlite:////a b/mlflow.db"]
    assert address.strip().startswith("then open http://127.0.0.1:5000/#/experiments/1/runs?")
    assert "hunter2" not in where_to_look("postgresql://u:hunter2@db/mlflow")
    assert "postgresql://user@db/mlflow" in where_to_look("postgresql://user@db/mlflow")
