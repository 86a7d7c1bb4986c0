"""A study that searches raters, choices of responses and kinds of labels: real trainings, a small model."""

from __future__ import annotations

import csv
import json
import sqlite3
from pathlib import Path

import pytest
from support.study_runs import run

from annotation.judging.judge import Scores
from annotation.pool_file import rows_beside
from pools.config import PoolConfig
from pools.sources import load_pool

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]
OPTIONS = (
    "--search.plan", "grid", "--search.responses", "2", "--budget", "48", "--search.budget_fractions", "1.0",
    "--search.raters", "1,3", "--search.agreement", "0.75", "--search.response_choices", "random,spread",
    "--search.labels", "human,judge", "--cost.per_judged", "0.5", "--search.trials", "6",
)  # fmt: skip


def judged(path: Path) -> Path:
    """The demo pool with the scores of a judge who likes some lengths, beside its own."""
    pool, _ = load_pool(PoolConfig(path="demo"), seed=0)
    scores = [Scores(tuple(r.score + len(r.text) % 7 / 7 for r in one.responses)) for one in pool.train]
    rows = rows_beside(pool.train, scores, pool.held_out)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def study(script: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    runs = tmp_path_factory.mktemp("runs")
    options = (*OPTIONS, "--pool.path", str(judged(runs / "pool.jsonl")))
    done = run(script, model, runs / "raters", *options)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return runs / "raters", done.stdout


def test_every_way_of_labelling_is_trained_at_equal_cost(study: tuple[Path, str]) -> None:
    rows = list(csv.DictReader((study[0] / "trials.csv").open()))
    names = ("prompts", "raters", "response_choice", "human_share", "agreement", "cost")
    assert {tuple(row[name] for name in names) for row in rows} == {
        ("24", "1", "random", "1.0", "0.75", "48.0"), ("24", "1", "spread", "1.0", "0.75", "48.0"),
        ("8", "3", "random", "1.0", "0.75", "48.0"), ("8", "3", "spread", "1.0", "0.75", "48.0"),
        ("48", "", "random", "0.0", "", "48.0"), ("48", "", "spread", "0.0", "", "48.0"),
    }  # fmt: skip


def test_other_labels_train_another_policy(study: tuple[Path, str]) -> None:
    """From the same prompts, in the same order: only what is labelled differs, or by whom."""
    records = [json.loads(path.read_text()) for path in (study[0] / "trials").glob("*.json")]
    curves = {
        (r["point"]["prompts"], r["point"].get("response_choice", "random")): [
            row["loss"] for row in r["results"][0]["history"]
        ]
        for r in records
    }
    assert curves[24, "random"] != curves[24, "spread"] and curves[48, "random"] != curves[48, "spread"]


def test_every_output_names_the_assumption_and_the_labelling(study: tuple[Path, str]) -> None:
    folder, said = study
    found = json.loads((folder / "recommendation.json").read_text())
    assert found["recommended"]["human_share"] in (0, 1)
    assert "assumed agreement 0.75" in found["sentence"]
    assert "Choices of responses" in found["sentence"] and "By kind of labels" in found["sentence"]
    assert said.count("assumed agreement 0.75") >= 2  # when it begins, and with the answer
    assert "the judge orders" in said and "agreement with people" in said
    report = (folder / "report.html").read_text()
    assert "assumed agreement 0.75" in report and "kinds of labels: human, judge" in report
    with sqlite3.connect(folder / "mlflow.db") as database:
        logged = set(database.execute("select key, value from params"))
        tags = set(database.execute("select key, value from tags"))
    assert {("raters", "1"), ("raters", "3"), ("agreement", "0.75"), ("human_share", "0.0")} <= logged
    assert ("response_choice", "spread") in tags
