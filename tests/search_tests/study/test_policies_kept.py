"""Which of the saved policies stay in a study's folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from search.config.study import StudyConfig
from search.study.folder import StudyFolder
from search.study.tracked import StudyRuns, open_study
from search.tracking.tracker import Dataset, MemoryTracker
from search.trials.design_point import DesignPoint
from search.trials.record import TrialRecord
from trainers.spec import SeedResult


def on_disk(location: str) -> Path:
    return Path(location.removeprefix("file://"))


def finished(folder: StudyFolder, trial: str, *rewards: float, saved: bool = True) -> TrialRecord:
    seeds = []
    for seed, reward in enumerate(rewards):
        path = f"{folder.policies}/trial-{trial}-seed{seed}" if saved else ""
        if saved:
            on_disk(path).mkdir(parents=True)
        seeds.append(SeedResult(seed=seed, reward=reward, rewards=(reward,), answers=("",), policy=path))
    point = DesignPoint(prompts=4, responses=2)
    return TrialRecord(trial=trial, point=point, cost=8, diversity=1.0, results=tuple(seeds))


@pytest.mark.parametrize("storage", ["", "{}/bucket/policies", "file://{}/bucket/policies"])
def test_the_best_seed_of_the_best_trial_is_kept(tmp_path: Path, storage: str) -> None:
    """Wherever they are: in the study's folder, in a shared one, or at a URI."""
    folder = StudyFolder(tmp_path / "study", policies=storage.format(tmp_path))
    records = [
        finished(folder, "a", 0.9, 0.1),
        finished(folder, "b", 0.6, 0.7),
        finished(folder, "c", 0.8, 0.8, saved=False),
    ]
    (on_disk(folder.policies) / "trial-running-seed0").mkdir()
    for _ in range(2):
        folder.prune_policies(records)
        kept = sorted(path.name for path in on_disk(folder.policies).iterdir())
        assert kept == ["trial-b-seed1", "trial-running-seed0"]


@pytest.mark.parametrize(("name", "registered"), [("policies", {"policies": ["b"]}), ("", {})])
def test_the_best_policy_is_registered_where_that_is_asked(
    tmp_path: Path, name: str, registered: dict[str, list[str]]
) -> None:
    folder, tracker = StudyFolder(tmp_path), MemoryTracker()
    sections = {"tracking": {"register_as": name}, "checkpoints": {"keep_policies": "all"}}
    config = StudyConfig.model_validate({"budget": 8, "pool": {}, **sections})
    folder.adopt(config)
    open_study(folder, config.tracking, "x", Dataset(name="pool", digest="d", source="pool"))
    for key, rewards in {"a": (0.9, 0.1), "b": (0.6, 0.7)}.items():
        folder.save(finished(folder, key, *rewards))
    for status in ("RUNNING", "FINISHED"):
        assert tracker.registered == {}
        folder.note_study(status=status, ended_ms=2)
        for run in StudyRuns(folder, config)():
            tracker.put(run)
    assert tracker.registered == registered


def test_nothing_can_be_registered_unless_policies_are_kept() -> None:
    with pytest.raises(ValidationError, match='keep_policies is "none": choose best or all'):
        StudyConfig.model_validate({"budget": 8, "pool": {}, "tracking": {"register_as": "policies"}})
