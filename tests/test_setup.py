"""`make setup` installs with uv where that does what pip would, else with pip; nothing is run here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PIP = ".venv/bin/python -m pip install --quiet "

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def installs(folder: Path, *more: str, uv: bool, **settings: str) -> list[str]:
    """The commands that would install, for a user with or without uv whose pip has these settings."""
    programs = folder / "programs"
    programs.mkdir()
    if uv:
        (programs / "uv").touch(mode=0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV"))}
    done = subprocess.run(
        ["make", "-n", "-B", "setup", f"PYTHON={sys.executable}", *more],
        cwd=ROOT,
        env={**kept, "PATH": f"{programs}:/usr/bin:/bin", "PIP_CONFIG_FILE": os.devnull, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if " install " in line]


def test_pip_installs_where_there_is_no_uv(tmp_path: Path) -> None:
    commands = installs(tmp_path, uv=False)
    assert len(commands) == 3 and all(command.startswith(PIP) for command in commands)


def test_uv_installs_where_it_is_and_pip_has_no_settings_that_it_would_miss(tmp_path: Path) -> None:
    commands = installs(tmp_path, uv=True)
    with_uv = f"{tmp_path}/programs/uv pip install --compile-bytecode --python .venv/bin/python --quiet "
    assert len(commands) == 3 and all(command.startswith(with_uv) for command in commands)
    assert "torch -c constraints.txt" in commands[0] and "'.[dev]' -c constraints.txt" in commands[1]


@pytest.mark.parametrize("setting", ["PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_CONSTRAINT"])
def test_pip_installs_where_it_has_settings_of_its_own(setting: str, tmp_path: Path) -> None:
    commands = installs(tmp_path, uv=True, **{setting: "/wheels"})
    assert len(commands) == 3 and all(command.startswith(PIP) for command in commands)


def test_either_can_be_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert all(command.startswith(PIP) for command in installs(tmp_path / "a", "UV=", uv=True))
    asked = installs(tmp_path / "b", "PIP_SETTINGS=", uv=True, PIP_FIND_LINKS="/wheels")
    assert all("/uv pip install" in command for command in asked)
