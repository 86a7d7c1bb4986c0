"""Where a study is tracked, and how secrets are kept out of everything that is written or shown."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import ConfigDict, Field, model_validator

from base.errors import ConfigError
from base.settings import Settings
from base.sqlite import sqlite_path, sqlite_uri

ENVIRONMENT = "MLFLOW_TRACKING_URI"
_SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks")
# Before a host: user and password, up to the last @ as a password may hold anything; or a lone token of http.
_USERINFO = re.compile(
    r"(?<=://)[^/@:\s]*:[^\s'\"]*(?=@)|(?<=http://)[^/@\s]+(?=@)|(?<=https://)[^/@\s]+(?=@)"
)
_SECRET_QUERY = re.compile(
    r"(?<=[?&])((?:[\w-]*)(?:password|passwd|token|secret)[\w-]*)=[^&\s'\"]+", re.IGNORECASE
)
_CHARTS = "workflowType=machine_learning&compareRunsMode=CHART"
# A sort by anything but time makes the UI drop its tree, in which trials are folded beneath their study.
_TRIALS = (
    "workflowType=machine_learning&searchFilter=tags.role%20%3D%20%22trial%22"
    "&orderByKey=metrics.%60reward%60&orderByAsc=false"
)


class TrackingConfig(Settings):
    """How a study is shown in MLflow.

    The URI is, in this order: `uri`; the environment variable MLFLOW_TRACKING_URI; a sqlite file
    `mlflow.db` in the study's folder.
    """

    uri: str = Field(
        default="",
        description="MLflow server or database, such as http://host:5000; none: track nothing; "
        "empty: $MLFLOW_TRACKING_URI, else a sqlite file in the study's folder (URI)",
    )
    experiment: str = Field(
        default="", description="MLflow experiment that holds the study; empty: the study's name"
    )
    log_system_metrics: bool = Field(
        default=True,
        description="whether CPU, memory, disk, network and GPU use of the study's machine are logged",
    )
    system_metrics_interval: float = Field(
        default=10.0, ge=0.1, description="time between two samples of them (s)"
    )
    register_as: str = Field(
        default="",
        description="registered model in MLflow that the best policy becomes a version of at the end; "
        "needs checkpoints.keep_policies best or all; empty: not registered (name)",
    )
    close_timeout: float = Field(
        default=15.0,
        ge=0,
        description="longest wait, at the end, for a slow server; the next run sends what is missing (s)",
    )

    # Checked as a whole, and input hidden: an error about a field quotes it, which here might be a password.
    model_config = ConfigDict(hide_input_in_errors=True)

    @model_validator(mode="after")
    def _names_a_place_and_no_credential(self) -> TrackingConfig:
        check_uri(self.uri)
        return self


def check_uri(uri: str) -> None:
    """Refuse a configured URI that names no known scheme, or that carries a password or token."""
    if uri in ("", "none", "databricks"):
        return
    scheme = uri.partition("://")[0].partition("+")[0]
    if "://" not in uri or scheme not in _SCHEMES:
        raise ConfigError(
            f'tracking.uri is "{redact(uri)}": expected one of '
            f"{', '.join(f'{s}://...' for s in _SCHEMES)}, none, or nothing"
        )
    if redact(uri) != uri:
        raise ConfigError(
            f'tracking.uri is "{redact(uri)}" and carries a credential: keep it out of configurations. For '
            "a server set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN; "
            f"for a database PGPASSWORD, or {ENVIRONMENT} to the whole URI"
        )


def redact(text: str) -> str:
    """`text` with *** for users with passwords, tokens and secrets of queries in its URIs."""
    return _SECRET_QUERY.sub(r"\1=***", _USERINFO.sub("***", text))


def tracking_uri(config: TrackingConfig, folder: Path, environ: Mapping[str, str] = os.environ) -> str:
    """The URI that a study in `folder` is tracked at; a sqlite file's path comes out absolute."""
    uri = config.uri or environ.get(ENVIRONMENT, "") or sqlite_uri(folder / "mlflow.db")
    path = sqlite_path(uri)
    # Train's workers and `mlflow ui` run in other directories.
    return uri if path is None else sqlite_uri(path.absolute())


def where_to_look(uri: str, experiment_id: str = "", view: str = "") -> str:
    """The address of a study's trials on a server, or the command that serves a database and that address.

    The page shows the charts of the saved view `view`; without one it lists the experiment's trials flat,
    best reward first, ready to be ticked and compared.
    """
    shown = f"{_CHARTS}&viewStateShareKey={view}" if view else _TRIALS
    page = f"/#/experiments/{experiment_id}/runs?{shown}" if experiment_id else ""
    if uri == "databricks":
        return uri
    if uri.startswith(("http://", "https://")):
        return redact(uri).rstrip("/") + page
    command = "mlflow"
    if shutil.which(command) is None:
        command = str(Path(sys.executable).parent / command)
    serve = shlex.join([command, "ui", "--backend-store-uri", redact(uri)])
    return f"{serve}\n  then open http://127.0.0.1:5000{page}"
