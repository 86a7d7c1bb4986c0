"""A study that varies raters and tries its advice elsewhere: real trainings on simulated labels."""

from __future__ import annotations

import csv
import json
import sqlite3
from pathlib import Path

import pytest
from support.study_runs import run
from support.tiny_models import byte_tokenizer, tiny_llama

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wider model than the study's."""
    folder = tmp_path_factory.mktemp("other")
    wider = {"hidden_size": 48, "intermediate_size": 64}
    tiny_llama(vocab_size=300, max_position_embeddings=512, **wider).save_pretrained(folder)
    byte_tokenizer(chat=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def flags(other: Path) -> list[str]:
    return [
        "--search.plan", "grid", "--search.responses", "2", "--search.raters", "1,3", "--budget", "48",
        "--search.agreement", "0.75",
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
    assert len(records) - len(tagged) == 4
    kept = json.loads((study[0] / "recommendation.json").read_text())
    assert kept["trials"] == 4
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


def test_both_numbers_of_raters_are_trained_at_equal_cost(study: tuple[Path, str]) -> None:
    rows = csv.DictReader((study[0] / "trials.csv").open())
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


def test_the_same_command_again_trains_nothing(
    study: tuple[Path, str], script: Path, model: Path, flags: list[str]
) -> None:
    done = run(script, model, study[0], *flags)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "nothing is left to train" in done.stdout and "starting Ray" not in done.stdout
