"""A cluster that is not there is said to be so, at once."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from base.errors import ConfigError
from search.cluster.connection import start_ray
from search.config.study import StudyConfig


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}"])
def test_an_address_where_nobody_listens_is_refused(form: str, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = form.format(free.getsockname()[1])
    study = StudyConfig.model_validate({"budget": 1, "pool": {}, "cluster": {"address": address}})
    with pytest.raises(ConfigError, match=f'no Ray cluster answers at cluster.address "{address}"'):
        start_ray(study.cluster, tmp_path / "ray.log")
