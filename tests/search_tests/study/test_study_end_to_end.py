"""The whole job: real Ray Tune and Train, a real DeepSpeed engine, a real MLflow database, a small model."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
from pathlib import Path

import pytest
from support.study_runs import run

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def study(script: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("runs") / "smoke"
    done = run(script, model, folder)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "authentication" not in done.stdout + done.stderr  # what Ray says when it starts goes to a file
    return folder, done.stdout


def rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "trials.csv").open()))


def test_it_ends_with_a_recommendation(study: tuple[Path, str]) -> None:
    folder, said = study
    found = json.loads((folder / "recommendation.json").read_text())
    assert found["budget"] == 32 and found["unit"] == "annotations" and found["seed"] == 0
    assert found["recommended"]["prompts"] * found["recommended"]["responses"] <= 32
    low, high = found["interval_95"]
    assert low <= found["predicted_reward"] <= high
    assert {"edge", "extrapolated"} <= found["flags"].keys()
    assert found["trials"] == 4 and found["base_reward"] is not None
    assert "runner_up" in found and "mlflow ui" in said and "report.html" in said
    assert (folder / "report.html").stat().st_size > 10_000
    assert (folder / "fit.json").exists()


def test_it_trains_every_split_at_both_spends(study: tuple[Path, str]) -> None:
    splits = {(int(row["prompts"]), int(row["responses"])) for row in rows(study[0])}
    assert splits == {(16, 2), (8, 4), (8, 2), (4, 4)}


def test_every_trial_reports_diversity_and_its_rivals(study: tuple[Path, str]) -> None:
    cheap = {"distinct_1", "distinct_4", "entropy", "compression_ratio", "log_prompts", "mean_prompt_tokens"}
    for row in rows(study[0]):
        values = {
            name: float(row[f"baseline:{name}"]) for name in cheap | {"embedding_distance", "vendi_score"}
        }
        assert 0 < values["embedding_distance"] < 2 and 1 < values["vendi_score"] <= int(row["prompts"])
        assert float(row["diversity"]) == pytest.approx(
            int(row["prompts"]) ** 0.5 * float(row["baseline:distinct_2"]), rel=1e-6
        )
    report = (study[0] / "report.html").read_text()
    assert "vendi_score" in report and "compression_ratio" in report


def test_its_log_tells_how_long_the_first_step_took(study: tuple[Path, str]) -> None:
    log = (study[0] / "logs" / "timeline.log").read_text()
    lines = [re.fullmatch(r".* s  process (\d+), CPU .* s  (.*)", line) for line in log.splitlines()]
    reached = {line[2]: line[1] for line in lines if line}
    assert list(reached)[0] == "new study: configuration read"
    driver = ["pool read", "first trial planned", "Ray up", "a trial's process up", "base model judged"]
    base = [f"base model: {one}" for one in ("worker up", "code imported", "model loaded")]
    assert reached.keys() >= {*driver, *base}
    first = [of for of in reached if of.endswith("first training step done")]
    # The workers that judged the base model train the first trial.
    assert reached["base model: worker up"] in {reached[of] for of in first}


def test_mlflow_holds_one_parent_and_one_child_a_trial(study: tuple[Path, str]) -> None:
    with sqlite3.connect(study[0] / "mlflow.db") as database:
        status = dict(database.execute("select run_uuid, status from runs"))
        parents = dict(database.execute("select run_uuid, value from tags where key = 'mlflow.parentRunId'"))
        logged = {
            run for (run,) in database.execute("select run_uuid from latest_metrics where key = 'reward'")
        }
    assert set(status.values()) == {"FINISHED"} and len(status) == 5
    assert len(parents) == 4 and len(set(parents.values())) == 1
    assert logged == parents.keys()


def test_the_same_command_again_trains_nothing_twice_and_makes_up_for_a_kill_at_the_end(
    study: tuple[Path, str], script: Path, model: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (study[0] / "trials").iterdir()}
    table, ray = study[0] / "trials.csv", study[0] / "ray"
    assert not list(ray.iterdir())
    lines = table.read_text().splitlines(keepends=True)
    table.write_text("".join(lines[:-1]))  # killed between the last trial's record and its row
    (ray / f"trial-{min(before).stem}" / "step1").mkdir(parents=True)
    (ray / "tune" / "of a killed run").mkdir(parents=True)
    done = run(script, model, study[0])
    assert done.returncode == 0, done.stderr[-3000:]
    assert "4 finished trials of an earlier run are kept" in done.stdout
    assert "nothing is left to train" in done.stdout and "starting Ray" not in done.stdout
    assert {path: path.stat().st_mtime_ns for path in (study[0] / "trials").iterdir()} == before
    assert sorted(table.read_text().splitlines(keepends=True)) == sorted(lines)
    assert not list(ray.iterdir())


def test_a_changed_field_is_refused_before_ray_starts(
    study: tuple[Path, str], script: Path, model: Path
) -> None:
    done = run(script, model, study[0], "--trainer.learning_rate", "0.5")
    assert done.returncode == 2
    assert "trainer.learning_rate" in done.stderr and "Traceback" not in done.stderr
    assert "starting Ray" not in done.stdout
