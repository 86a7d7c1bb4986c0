"""The rules of the house: imports run one way, and the driver needs neither torch nor Ray to start."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = ["base", "pools", "metrics", "trainers", "annotation", "search"]


def imported(path: Path) -> set[str]:
    """Top-level names of all packages that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("package", ORDER)
def test_imports_run_one_way(package: str) -> None:
    later = set(ORDER[ORDER.index(package) + 1 :])
    for path in (ROOT / package).rglob("*.py"):
        assert not imported(path) & later, path


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("deepspeed", {"trainers/training/engine.py"}),
        ("mlflow", {"search/tracking/mlflow_tracker.py"}),
        ("optuna", {"search/plan/proposals.py"}),
        ("openai", {"annotation/endpoint.py"}),
    ],
)
def test_a_library_is_touched_in_one_file(library: str, homes: set[str]) -> None:
    users = {
        str(path.relative_to(ROOT))
        for package in ORDER
        for path in (ROOT / package).rglob("*.py")
        if library in imported(path)
    }
    assert users == homes


def test_the_driver_starts_without_torch_ray_or_deepspeed() -> None:
    code = (
        "import sys, search.study.run, search.commands.study\n"
        "import search.commands.recommend, search.commands.pool\n"
        "heavy = {'torch', 'ray', 'deepspeed', 'mlflow', 'transformers'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("script", ["search/run.py", "copied"])
def test_the_script_runs_from_anywhere(script: str, tmp_path: Path) -> None:
    path = ROOT / "search" / "run.py"
    if script == "copied":
        path = tmp_path / "run.py"
        path.write_text((ROOT / "search" / "run.py").read_text())
    done = subprocess.run(
        [sys.executable, str(path), "--budget", "-5"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "budget = -5" in done.stderr and "Traceback" not in done.stderr
