"""What is gathered is what was trained, by whom, and goes with no path of the machine."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from search.study.folder import StudyFolder
from search.trials.record import TrialRecord
from search.trials.trials_csv import read_trials
from studies.gather import Origin, gather, note_makers
from tests.factories import planned, record


def study(folder: Path, *trials: TrialRecord, earlier: TrialRecord) -> None:
    """A study's folder with these trials, which goes on from the earlier one."""
    kept = StudyFolder(folder)
    (folder / "trials").mkdir(parents=True)
    for trial in trials:
        kept.save(trial)
    kept.keep_earlier([replace(earlier, earlier=dict.fromkeys(earlier.seeds, "elsewhere"))], 0.3)
    kept.write_json(
        "study.json", {"identity": "i", "pool": {"digest": "d"}, "responses": [1, 2, 3], "max_prompts": 99}
    )
    (folder / "config.yaml").write_text(
        f"name: my-study\npool:\n  path: {folder.parents[1] / 'pool.jsonl'}\n"
    )


def test_what_is_gathered_is_one_study_whatever_machine_trained_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = record(planned(24, 8), 0.5, 0.6, key="here", rewards=(0.25, 1 / 3))
    there = record(planned(96, 2, seeds=[0]), 0.4, key="there", rewards=(0.5, 1.0))
    study(tmp_path / "runs" / "anything", here, earlier=there)
    (tmp_path / "pool.jsonl").touch()
    studies = tmp_path / "root" / "studies"
    studies.mkdir(parents=True)
    before = {"commits": ["c"], "machines": ["m"]}
    (studies / "my_study.yaml").write_text(yaml.safe_dump(before))
    monkeypatch.setattr("studies.gather.ROOT", tmp_path / "root")
    monkeypatch.setattr("studies.gather._commit", lambda: "d")
    folder = StudyFolder(tmp_path / "runs" / "anything")
    note_makers(folder)
    gather(folder, Origin("docs/my_study.md", "make it"))

    trials = read_trials(studies / "my_study.csv")
    assert {(one.trial, one.seeds) for one in trials} == {("here", (0, 1)), ("there", (0,))}
    assert not any(one.earlier for one in trials)
    assert json.loads((studies / "my_study.json").read_text())["counts"] is False
    with (studies / "held_out" / "my_study.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["trial", "seed", "0", "1"],
            ["here", "0", "0.25", "0.333333"],
            ["here", "1", "0.25", "0.333333"],
            ["there", "0", "0.5", "1.0"],
        ]
    facts = yaml.safe_load((studies / "my_study.yaml").read_text())
    assert facts["commits"] == ["c", "d"] and facts["machines"][0] == "m" and "cores" in facts["machines"][1]
    assert facts["base_reward"] == 0.3 and facts["pool_digest"] == "d"
    assert (facts["pool_prompts"], facts["pool_responses"]) == (99, 3)
    assert facts["configuration"] == {"name": "my-study", "pool": {"path": "pool.jsonl"}}

    # Gathered once more, by other code that trained nothing.
    monkeypatch.setattr("studies.gather._commit", lambda: "e")
    gather(folder, Origin("docs/my_study.md", "make it"))
    assert yaml.safe_load((studies / "my_study.yaml").read_text())["commits"] == ["c", "d"]
