"""A study that varies how prompts are labelled and tries its advice elsewhere: real trainings."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
from pathlib import Path

import pytest
from support.study_runs import run
from support.tiny_models import byte_tokenizer, tiny_llama

from annotation.judging.judge import Scores
from annotation.pool_file import rows_beside
from pools.config import PoolConfig
from pools.sources import load_pool

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wider model than the study's."""
    folder = tmp_path_factory.mktemp("other")
    wider = {"hidden_size": 48, "intermediate_size": 64}
    tiny_llama(vocab_size=300, max_position_embeddings=512, **wider).save_pretrained(folder)
    byte_tokenizer(chat=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo pool with the scores of a judge who likes some lengths, beside its own."""
    pool, _ = load_pool(PoolConfig(path="demo"), seed=0)
    scores = [Scores(tuple(r.score + len(r.text) % 7 / 7 for r in one.responses)) for one in pool.train]
    rows = rows_beside(pool.train, scores, ())  # held out are some of these, whose responses have scores
    path = tmp_path_factory.mktemp("judged") / "pool.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def flags(other: Path, judged: Path) -> list[str]:
    return [
        "--search.plan", "grid", "--search.responses", "2", "--search.raters", "1,3", "--budget", "48",
        "--search.agreement", "0.75", "--search.response_choices", "random,spread", "--search.trials", "6",
        "--search.labels", "human,judge", "--cost.per_judged", "0.5", "--search.budget_fractions", "1.0",
        "--pool.path", str(judged),
        "--transfer.models", str(other), "--transfer.trials", "3",
        "--checkpoints.keep_policies", "all",
        "--further-rewards", "[{kind: fitted, fit_prompts: 12, fit_folds: 2, force: true}]",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def study(
    script: Path, model: Path, flags: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("runs") / "wide"
    done = run(script, model, folder, *flags)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder, done.stdout


def test_contenders_are_trained_under_each_setting_and_kept_apart(
    study: tuple[Path, str], other: Path
) -> None:
    records = [json.loads(path.read_text()) for path in (study[0] / "trials").glob("*.json")]
    tagged = [record for record in records if record["point"].get("transfer")]
    tags = [record["point"]["transfer"] for record in tagged]
    assert tags == [f"model {other}"] * 3
    assert len(records) - len(tagged) == 6
    kept = json.loads((study[0] / "recommendation.json").read_text())
    assert kept["trials"] == 6
    assert {one["setting"] for one in kept["transfer"]["tried"]} == set(tags)
    assert kept["transfer"]["not_tested"] == [
        "another algorithm", "another pairing", "another learning rate", "other steps",
    ]  # fmt: skip
    assert (study[0] / "transfer.csv").read_text().count("\n") == 1 + 6


def test_the_other_model_is_the_one_that_was_trained(study: tuple[Path, str], other: Path) -> None:
    for path in (study[0] / "trials").glob("*.json"):
        record = json.loads(path.read_text())
        for result in record["results"]:
            config = json.loads((Path(result["policy"]) / "config.json").read_text())
            elsewhere = record["point"].get("transfer") == f"model {other}"
            assert config["hidden_size"] == (48 if elsewhere else 32)
            assert result["further_rewards"].keys() == {"fitted (fitted on the pool's own scores)"}


def test_the_report_and_the_terminal_say_whether_it_carries_over(study: tuple[Path, str]) -> None:
    report = (study[0] / "report.html").read_text()
    assert "Does it carry over?" in report and "Under model " in report
    assert "By fitted (fitted on the pool&#x27;s own scores) the advice" in report
    assert "Does it carry over (probability still as good as any)?" in study[1]


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
        if not r["point"].get("transfer")
    }
    assert curves[24, "random"] != curves[24, "spread"] and curves[48, "random"] != curves[48, "spread"]


def test_every_output_names_the_assumption_and_the_labelling(study: tuple[Path, str]) -> None:
    folder, said = study
    found = json.loads((folder / "recommendation.json").read_text())
    assert found["recommended"]["human_share"] in (0, 1)
    assert "assumed agreement 0.75" in found["sentence"]
    assert "Choices of responses" in found["sentence"] and "By kind of labels" in found["sentence"]
    assert said.count("assumed agreement 0.75") >= 2  # when it begins, and with the answer
    assert "the judge orders" in said and re.search(r"agreement with people: [01]\.\d+ of \d+ held-out", said)
    report = (folder / "report.html").read_text()
    assert "assumed agreement 0.75" in report and "kinds of labels: human, judge" in report
    with sqlite3.connect(folder / "mlflow.db") as database:
        logged = set(database.execute("select key, value from params"))
        tags = set(database.execute("select key, value from tags"))
    assert {("raters", "1"), ("raters", "3"), ("agreement", "0.75"), ("human_share", "0.0")} <= logged
    assert ("response_choice", "spread") in tags


def test_the_same_command_again_trains_nothing(
    study: tuple[Path, str], script: Path, model: Path, flags: list[str]
) -> None:
    done = run(script, model, study[0], *flags)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "nothing is left to train" in done.stdout and "starting Ray" not in done.stdout
