"""The rules of the house: imports run one way, and the driver needs neither torch nor Ray to start."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ORDER = ["base", "pools", "metrics", "trainers", "annotation", "search"]
ROOMED = ["trainers", "search"]  # packages whose folders import one another one way


def imported(path: Path, *, typing: bool = True) -> set[str]:
    """Full names of all modules that a file imports, anywhere in it; without those only types need."""
    tree, names = ast.parse(path.read_text()), set[str]()
    left_out: set[int] = set()
    for node in ast.walk(tree):
        if not typing and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            left_out |= {id(inner) for inner in ast.walk(node)}
        if id(node) in left_out:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imported(path)}


@pytest.mark.parametrize("package", ORDER)
def test_imports_run_one_way(package: str) -> None:
    later = set(ORDER[ORDER.index(package) + 1 :])
    for path in (ROOT / package).rglob("*.py"):
        assert not tops(path) & later, path


@pytest.mark.parametrize("package", ROOMED)
def test_no_room_imports_one_that_imports_it(package: str) -> None:
    """A room is a folder, or a file beside the folders: the graph of rooms has no circle."""
    rooms: dict[str, set[str]] = {}
    for path in (ROOT / package).rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        uses = (name.split(".") for name in imported(path, typing=False))
        found = rooms.setdefault(parts[1], set())
        found |= {use[1] for use in uses if use[0] == package and len(use) > 1 and use[1] != parts[1]}
    tuple(TopologicalSorter(rooms).static_order())  # raises CycleError, naming the circle


def test_packages_are_empty_to_import() -> None:
    for package in ORDER:
        for path in (ROOT / package).rglob("__init__.py"):
            assert path.read_text() == "", path


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("deepspeed", {"trainers/training/engine.py"}),
        ("mlflow", {"search/tracking/mlflow_tracker.py", "search/tracking/system_metrics.py"}),
        ("optuna", {"search/plan/proposals.py"}),
        ("openai", {"annotation/endpoint.py"}),
        ("vllm", {"trainers/generation/vllm.py"}),
    ],
)
def test_a_library_is_touched_in_one_home(library: str, homes: set[str]) -> None:
    users = {
        str(path.relative_to(ROOT))
        for package in ORDER
        for path in (ROOT / package).rglob("*.py")
        if library in tops(path)
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


def test_a_study_begins_without_what_only_its_end_needs() -> None:
    code = "import sys, search.study.run, search.commands.study; assert 'matplotlib' not in sys.modules"
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
    assert "budget = '-5'" in done.stderr and "Traceback" not in done.stderr
