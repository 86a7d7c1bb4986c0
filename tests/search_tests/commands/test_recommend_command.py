from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from factories import planned, record
from support.paper import like_paper, like_paper_curve, study
from support.paths import ROOT

from search.cli import main
from search.study.folder import StudyFolder
from search.trials.trials_csv import write_trials

# Refuses what a machine for reading results need not have.
BLOCKER = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in set("ray torch transformers deepspeed mlflow optuna datasets".split()):
            raise ImportError(name + " is not installed here")
sys.meta_path.insert(0, Absent())
from search.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    write_trials(tmp_path / "trials.csv", like_paper())
    return tmp_path / "trials.csv"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_trials(tmp_path / "trials.csv", study(1))
    (tmp_path / "curve.json").write_text(json.dumps(like_paper_curve().to_dict()))
    described = {
        "name": "a study", "seed": 3, "base_reward": 0.3, "cost": {"per_prompt": 1.0, "unit": "euros"},
        "budget": 15_000, "responses": [2, 3, 4, 5], "max_prompts": 5_000,
    }  # fmt: skip
    (tmp_path / "study.json").write_text(json.dumps(described))
    return tmp_path


def test_it_runs_without_ray_torch_and_the_like(csv: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        BLOCKER,
        "recommend",
        str(csv),
        "--budget",
        "48000",
        "--report",
        str(tmp_path / "r"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "label 12,000 x 4: predicted reward 0.548" in done.stdout
    assert (tmp_path / "r" / "report.html").stat().st_size > 50_000


def test_a_study_folder_brings_its_own_prices_budget_and_pool(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recommend", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["budget"], found["unit"], found["seed"]) == (15_000, "euros", 3)
    whole = {(s["responses"], s["prompts"]) for s in found["splits"] if s["cost"] > 14_990}
    assert whole == {(2, 5_000), (3, 3_750), (4, 3_000)}
    assert [view["name"] for view in found["cost_models"]] == [
        "your prices",
        "equal annotations",
        "equal comparisons",
    ]


def test_prices_and_pool_can_be_asked_otherwise(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [
        "--budget",
        "900",
        "--cost.per_prompt",
        "0",
        "--cost.unit",
        "labels",
        "--max-prompts",
        "100",
        "--json",
    ]
    assert main(["recommend", str(folder), *asked]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["unit"] == "labels"
    assert {s["responses"]: s["prompts"] for s in found["splits"]} == {2: 100, 3: 100, 4: 100}


def test_plain_output_compares_costs(csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", str(csv), "--budget", "48000"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(
        "With 48,000 annotations label 12,000 x 4: predicted reward 0.548 (95% interval"
    )
    assert "Slope of reward on diversity (95% interval) within 2 responses +0.00695 (+0.006751 to" in printed
    assert "equal comparisons (72,000 comparisons): " in printed


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "--budget is needed"),
        (["--budget", "-4"], "budget -4.0 annotations is not a positive number"),
        (
            ["--budget", "10", "--cost.per_annotation", "-1"],
            "per_annotation = '-1': Input should be greater than or equal to 0",
        ),
        (
            ["--budget", "10", "--cost.comparisons", "all"],
            "comparisons = 'all': Input should be 'pairs' or 'sort'",
        ),
    ],
)
def test_bad_questions_get_one_plain_line(
    csv: Path, arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["recommend", str(csv), *arguments]) == 2
    error = capsys.readouterr().err
    assert complaint in error and error.count("\n") == 1


def test_bad_paths_get_one_plain_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", str(folder / "none"), "--budget", "1"]) == 2
    (folder / "study.json").write_text("{}")
    assert main(["recommend", str(folder)]) == 2
    (folder / "study.json").write_text("{")
    assert main(["recommend", str(folder)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert "neither a study folder nor a CSV" in errors[0]
    assert "lacks a field or holds the wrong kind of value: 'name'" in errors[1]
    assert "cannot read" in errors[2]


def test_a_study_that_began_from_past_studies_is_answered_with_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def report(prior: str) -> str:
        described = json.loads((folder / "study.json").read_text())
        (folder / "study.json").write_text(json.dumps({**described, "prior": prior}))
        assert main(["recommend", str(folder), "--json", "--report", str(folder / prior)]) == 0
        capsys.readouterr()
        return (folder / prior / "report.html").read_text()

    assert "past studies" in report("studies") and "past studies" not in report("none")


@pytest.mark.parametrize("study_name", ["reference_sft", "reference_pro"])
def test_a_shipped_study_is_answered_with_all_that_is_known_of_it(
    study_name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ROOT / "studies" / f"{study_name}.csv"
    assert main(["recommend", str(path), "--json", "--report", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)
    facts = yaml.safe_load(path.with_suffix(".yaml").read_text())
    assert (found["budget"], found["max_prompts"]) == (1536, facts["pool_prompts"])
    assert found["base_reward"] == facts["base_reward"] and found["above_base"]
    assert found["noise"]["known"] and found["noise"]["held_out"] == 120
    assert found["flags"]["edge"] and found["try_responses"] is None
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Two splits with the same seed differ by a standard deviation of" in html
    assert "<th>visits per prompt</th>" in html  # 24 steps of 8 prompts, so 32 of each of 6
    assert re.search(r"<td>6</td><td>8</td><td>random</td>(<td>[\d.]+</td>){5}<td>32</td>", html)

    assert main(["recommend", str(path)]) == 0
    printed = capsys.readouterr().out
    assert f"Over the base model, whose reward is {facts['base_reward']:.3f}: +" in printed
    assert "\n".join(found["noise"]["lines"]) in printed


def test_of_a_table_alone_nothing_is_made_up(csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", str(csv), "--budget", "48000", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["noise"], found["base_reward"], found["max_prompts"]) == (None, None, None)
    assert found["try_responses"] == 5
    assert main(["recommend", str(csv), "--budget", "48000"]) == 0
    printed = capsys.readouterr().out
    assert "base model" not in printed and "noise" not in printed and "Training:" not in printed


def test_rewards_of_some_trainings_alone_are_taken_as_far_as_they_go(
    csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_trials(csv, trials := study(2))
    (csv.parent / "held_out").mkdir()
    known = [(one.trial, seed) for one in trials[:2] for seed in (0, 1)]
    rows = [f"{trial},{seed},0.{n + 1},0.{9 - n},0.5" for n, (trial, seed) in enumerate(known)]
    table = csv.parent / "held_out" / csv.name
    table.write_text("\n".join(["trial,seed,0,1,2", *rows]) + "\n")
    assert main(["recommend", str(csv), "--budget", "12000", "--json"]) == 0
    noise = json.loads(capsys.readouterr().out)["noise"]
    assert (noise["trainings"], noise["known"], noise["ways"]) == (4, False, [])
    table.write_text("trial,seed,0\na,b,c\n")
    assert main(["recommend", str(csv), "--budget", "12000"]) == 2
    assert f"{table}: a row is no trial, seed and rewards" in capsys.readouterr().err


def test_a_folder_has_its_noise_from_the_trials_own_files(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trials = [
        record(planned(n, k, range(3)), 0.40, 0.42, 0.41, key=f"{n}x{k}", rewards=(0.3, 0.5, n / 1e5))
        for n, k in ((500, 2), (1_500, 2), (250, 4), (750, 4))
    ]
    write_trials(folder / "trials.csv", trials)
    (folder / "trials").mkdir()
    for one in trials:
        StudyFolder(folder).save(one)
    assert main(["recommend", str(folder), "--json", "--budget", "1500"]) == 0
    noise = json.loads(capsys.readouterr().out)["noise"]
    assert (noise["trainings"], noise["held_out"]) == (12, 3)
