"""A finished study shows each trial's reward at the base model's length; a running one cannot know it yet."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from factories import planned, record
from support.tracked_studies import POOL, Study

from search.study.folder import StudyFolder
from search.study.tracked import StudyRuns
from trainers.spec import SeedResult

NAME = "reward_length_controlled"


def answered(folder: StudyFolder, *prompts: int) -> None:
    """Keep a trial for each number of prompts; longer answers have higher rewards."""
    for number, count in enumerate(prompts):
        lengths = [10, 40 + number, 25]
        answers = tuple("x" * length for length in lengths)
        rewards = tuple(0.3 + 0.005 * length for length in lengths)
        trial = record(planned(count, 2, (0,)), 0.5, rewards=rewards, answers=answers)
        folder.save(trial)


def shown(study: Study) -> dict[str, float]:
    return {
        run.name: value
        for run in StudyRuns(study.folder, study.config)()
        for point in run.steps
        for name, value in point.metrics.items()
        if name == NAME and value is not None
    }


def test_it_is_shown_once_the_study_has_finished(tmp_path: Path) -> None:
    study = Study(tmp_path / "study", uri="none")
    base = SeedResult(seed=-1, reward=0.4, rewards=(0.4,) * 3, answers=("x" * 20,) * 3)
    with study.running():
        study.folder.write_json(
            "base.json", {"identity": "identity", "base": asdict(base), "reward_report": None}
        )
        answered(study.folder, 100, 200)
        assert shown(study) == {}
    found = shown(study)
    assert found.keys() == {"100 x 2", "200 x 2"}
    assert all(0 <= value <= 1 for value in found.values()) and len(set(found.values())) == 2
    assert shown(study) == found
    points = [point for run in StudyRuns(study.folder, study.config)() for point in run.steps]
    newest = max(study.folder.finished().values())
    assert {point.timestamp_ms for point in points if NAME in point.metrics} == {newest}


def test_earlier_trials_word_on_the_base_model_is_not_enough(tmp_path: Path) -> None:
    study = Study(tmp_path / "study", uri="none")
    with study.running(POOL):
        study.folder.write_json(
            "base.json", {"identity": "identity", "base": {"reward": 0.4}, "reward_report": None}
        )
        answered(study.folder, 100)
    assert shown(study) == {}
