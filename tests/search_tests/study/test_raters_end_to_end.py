"""A study in which the number of raters is searched: real trainings on simulated labels, a small model."""

from __future__ import annotations

import csv
import json
import sqlite3
from pathlib import Path

import pytest
from support.study_runs import run

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]
OPTIONS = ("--search.plan", "grid", "--search.responses", "2", "--search.raters", "1,3", "--budget", "48")


@pytest.fixture(scope="module")
def study(script: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("runs") / "raters"
    done = run(script, model, folder, *OPTIONS, "--search.agreement", "0.75")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder, done.stdout


def test_both_numbers_of_raters_are_trained_at_equal_cost(study: tuple[Path, str]) -> None:
    rows = list(csv.DictReader((study[0] / "trials.csv").open()))
    splits = {
        (row["prompts"], row["responses"], row["raters"], row["cost"], row["agreement"]) for row in rows
    }
    assert splits == {
        ("12", "2", "1", "24.0", "0.75"), ("24", "2", "1", "48.0", "0.75"),
        ("4", "2", "3", "24.0", "0.75"), ("8", "2", "3", "48.0", "0.75"),
    }  # fmt: skip


def test_every_output_names_the_assumption(study: tuple[Path, str]) -> None:
    folder, said = study
    found = json.loads((folder / "recommendation.json").read_text())
    assert found["recommended"]["raters"] in (1, 3)
    assert "assumed agreement 0.75" in found["sentence"]
    assert said.count("assumed agreement 0.75") >= 2  # when it begins, and with the answer
    assert "assumed agreement 0.75" in (folder / "report.html").read_text()
    with sqlite3.connect(folder / "mlflow.db") as database:
        logged = set(database.execute("select key, value from params where key in ('raters', 'agreement')"))
    assert {("raters", "1"), ("raters", "3"), ("agreement", "0.75")} <= logged
