"""Where a study runs and where it keeps what must outlive a machine: the fields, and their environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import ConfigDict, Field, model_validator

from base.errors import ConfigError
from base.settings import Settings
from pools.files import refuse_credential

STORAGE, AUTOSCALING = "APPORTION_STORAGE", "APPORTION_AUTOSCALING"
_SCHEMES = ("s3", "gs", "file")


class ClusterConfig(Settings):
    """The Ray cluster that the study runs on, and the storage that its nodes share."""

    address: str = Field(
        "",
        description='"local" starts Ray on this machine; "auto" or an address joins a cluster; '
        "empty joins the one that runs on this machine, or starts one",
    )
    storage: str = Field(
        "",
        description="keeps checkpoints and a copy of the study: s3://bucket/path, gs://bucket/path, or "
        f"a folder that all nodes see; empty: ${STORAGE}, else the study's folder alone",
    )
    autoscaling: str = Field(
        "",
        description="the cluster launcher's YAML on the head, which says how far the cluster may grow; "
        f"empty: ${AUTOSCALING}, else the cluster is taken as it stands",
    )

    # Checked as a whole, and input hidden: an error about a field quotes it, which here might be a key.
    model_config = ConfigDict(hide_input_in_errors=True)

    @model_validator(mode="after")
    def _storage_is_a_place(self) -> ClusterConfig:
        check_storage(self.storage, "cluster.storage")
        return self

    def shared(self, environ: Mapping[str, str] = os.environ) -> str:
        """The storage as a URI or an absolute path, without a slash at its end; "" where there is none."""
        if not self.storage:
            check_storage(environ.get(STORAGE, ""), f"${STORAGE}")
        return (self.storage or environ.get(STORAGE, "")).rstrip("/")

    def limits(self, environ: Mapping[str, str] = os.environ) -> Path | None:
        """The file that says how far the cluster may grow; None where none is named."""
        name = self.autoscaling or environ.get(AUTOSCALING, "")
        return Path(name).expanduser() if name else None


def check_storage(location: str, name: str) -> None:
    """Raise ConfigError unless `location` is empty, an absolute path or a URI without a credential."""
    scheme = location.partition("://")[0] if "://" in location else ""
    refuse_credential(location, name)
    if location and scheme not in _SCHEMES and not location.startswith("/"):
        choices = ", ".join(f"{known}://..." for known in _SCHEMES)
        raise ConfigError(f'{name} is "{location}": expected one of {choices}, or an absolute path')
