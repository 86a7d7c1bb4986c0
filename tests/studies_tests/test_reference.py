"""The reference study's stages are configurations that load, and what is gathered is what was trained."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from search.config.load import load_config
from search.plan.space import Space
from search.study.folder import StudyFolder
from search.trials.record import TrialRecord
from search.trials.trials_csv import read_trials
from studies import reference
from tests.factories import planned, record


def test_every_stage_is_a_part_of_a_grid_that_the_pool_can_serve() -> None:
    for name, part in reference.STAGES:
        config = load_config(
            str(reference.config_of(name)), {f"search.{field}": value for field, value in part.items()}
        )
        points = Space(config, max_prompts=192).grid()
        assert 4 <= len(points) <= config.search.trials
        assert config.name == f"reference-{name}" and name.startswith(config.trainer.algorithm.name)


def test_the_studies_differ_by_algorithm_or_by_what_is_matched_alone() -> None:
    sft, *others = (
        load_config(str(reference.config_of(name))).model_dump()
        for name in ("sft", "pro", "dpo", "sft-epochs")
    )
    for each in (sft, *others):
        del each["name"], each["search"]
        for field in ("algorithm", "matching", "steps", "epochs"):
            del each["trainer"][field]
    assert all(each == sft for each in others)


def study(folder: Path, *trials: TrialRecord, earlier: TrialRecord) -> None:
    """A study's folder with these trials, which goes on from the earlier one."""
    kept = StudyFolder(folder)
    (folder / "trials").mkdir(parents=True)
    for trial in trials:
        kept.save(trial)
    kept.keep_earlier([replace(earlier, earlier=dict.fromkeys(earlier.seeds, "elsewhere"))], 0.3)
    kept.write_json("study.json", {"identity": "i", "pool": {"digest": "d"}})
    (folder / "config.yaml").write_text("budget: 1536\n")


def test_what_is_gathered_is_one_study_whatever_machine_trained_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = record(planned(24, 8), 0.5, 0.6, key="here", rewards=(0.25, 1 / 3))
    there = record(planned(96, 2, seeds=[0]), 0.4, key="there", rewards=(0.5, 1.0))
    study(tmp_path / "runs" / "reference-sft", here, earlier=there)
    studies = tmp_path / "root" / "studies"
    studies.mkdir(parents=True)
    before = {"commits": ["c"], "machines": ["m"]}
    (studies / "reference_sft.yaml").write_text(yaml.safe_dump(before))
    monkeypatch.setattr(reference, "ROOT", tmp_path / "root")
    monkeypatch.setattr(reference, "_commit", lambda: "d")
    reference.note_makers(StudyFolder(tmp_path / "runs" / "reference-sft"))
    reference.gather(tmp_path / "runs", whole=False)

    trials = read_trials(studies / "reference_sft.csv")
    assert {(one.trial, one.seeds) for one in trials} == {("here", (0, 1)), ("there", (0,))}
    assert not any(one.earlier for one in trials)
    assert json.loads((studies / "reference_sft.json").read_text())["counts"] is False
    with (studies / "held_out" / "reference_sft.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["trial", "seed", "0", "1"],
            ["here", "0", "0.25", "0.333333"],
            ["here", "1", "0.25", "0.333333"],
            ["there", "0", "0.5", "1.0"],
        ]
    facts = yaml.safe_load((studies / "reference_sft.yaml").read_text())
    assert facts["commits"] == ["c", "d"] and facts["machines"][0] == "m" and "cores" in facts["machines"][1]
    assert facts["base_reward"] == 0.3 and facts["pool_digest"] == "d"
    assert facts["configuration"] == {"budget": 1536}

    # Gathered once more, by other code that trained nothing.
    monkeypatch.setattr(reference, "_commit", lambda: "e")
    reference.gather(tmp_path / "runs", whole=False)
    assert yaml.safe_load((studies / "reference_sft.yaml").read_text())["commits"] == ["c", "d"]


def test_a_stage_goes_on_from_what_was_gathered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    commands = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        commands.append(command)
        return SimpleNamespace(returncode=1)

    monkeypatch.setattr("studies.reference.subprocess.run", run)
    reference.train("sft", {"responses": "2,8"}, tmp_path / "runs")
    gathered = tmp_path / "studies" / "reference_sft.csv"
    gathered.parent.mkdir()
    gathered.touch()
    reference.train("sft", {}, tmp_path / "runs")
    assert "--search.earlier" not in commands[0] and commands[0][3:5] == ["--search.responses", "2,8"]
    assert commands[1][3:5] == ["--search.earlier", "studies/reference_sft.csv"]
