"""The study's folder keeps finished trials whole, and refuses to mix two studies."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from factories import planned, record

from base.errors import ConfigError
from search.config.study import StudyConfig
from search.study.folder import StudyFolder, compared, study_identity
from search.trials.record import TrialRecord


def config(**changes: object) -> StudyConfig:
    return StudyConfig.model_validate({"budget": 48, "pool": {"path": "demo"}, **changes})


def finished(key: str = "abc") -> TrialRecord:
    history = [{"step": 1.0, "loss": 2.0}]
    trial = planned(12, 4, budget_fraction=1.0)
    return record(trial, 0.4, 0.5, key=key, diversity=3.5, answers=("é",), history=history)


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    folder = StudyFolder(tmp_path / "study")
    folder.path.mkdir()
    folder.adopt(config())
    return folder


def test_a_trial_comes_back_as_it_was_saved(folder: StudyFolder) -> None:
    folder.save(finished())
    assert folder.records() == {"abc": finished()}


def test_a_half_written_trial_is_not_taken_for_one(folder: StudyFolder) -> None:
    (folder.trials / ".abc.json.partial").write_text('{"record": {')
    assert folder.records() == {}


def test_a_changed_study_is_refused_by_the_field_that_changed(folder: StudyFolder) -> None:
    folder.save(finished())
    with pytest.raises(ConfigError, match=r"trainer.learning_rate = 2e-05, not 0.1.*--fresh"):
        folder.adopt(config(trainer={"learning_rate": 0.1}))


def test_what_no_trial_depends_on_may_change(folder: StudyFolder) -> None:
    folder.save(finished())
    changed = config(search={"trials": 9}, resources={"cpus_per_worker": 2}, tracking={"uri": "none"})
    folder.adopt(changed)
    assert study_identity(changed, "pool") == study_identity(config(), "pool")
    assert study_identity(config(), "another pool") != study_identity(config(), "pool")


def test_a_folder_without_finished_trials_may_be_taken_over(folder: StudyFolder) -> None:
    folder.adopt(config(trainer={"learning_rate": 0.1}))


def test_a_second_study_in_the_folder_is_refused_while_the_first_runs(folder: StudyFolder) -> None:
    with (
        folder.locked(),
        pytest.raises(ConfigError, match="another study is running"),
        StudyFolder(folder.path).locked(),
    ):
        pass
    with StudyFolder(folder.path).locked():
        pass


def test_setting_aside_loses_nothing(folder: StudyFolder) -> None:
    folder.save(finished())
    moved = folder.set_aside()
    assert moved is not None and moved.name == "study.1"
    assert StudyFolder(moved).records() == {"abc": finished()}
    assert folder.set_aside() is None


def test_labels_of_another_kind_are_refused(folder: StudyFolder) -> None:
    folder.save(finished())
    with pytest.raises(ConfigError, match=r"search.agreement = None, not 0.75"):
        folder.adopt(config(search={"agreement": 0.75}))
    with pytest.raises(ConfigError, match=r"search.raters = \[\], not \[1, 3\]"):
        folder.adopt(config(search={"raters": [1, 3]}))
    with pytest.raises(ConfigError, match=r"search.labels = \[\], not \['human'\]"):
        folder.adopt(config(search={"labels": ["human"]}))


def test_other_choices_of_responses_may_be_asked_for_later(folder: StudyFolder) -> None:
    folder.save(finished())
    folder.adopt(config(search={"response_choices": ["random", "spread"]}))


def test_a_study_from_before_there_were_judges_goes_on(folder: StudyFolder) -> None:
    folder.save(finished())
    written = folder.path / "config.yaml"
    written.write_text(
        "".join(line for line in written.read_text().splitlines(True) if "per_judged" not in line)
    )
    folder.adopt(config())
    with pytest.raises(ConfigError, match=r"cost.per_judged"):
        folder.adopt(config(cost={"per_judged": 0.1}))


def test_a_study_from_before_weights_could_be_averaged_goes_on(folder: StudyFolder) -> None:
    folder.save(finished())
    tree = config().model_dump(mode="json")
    assert tree["trainer"].pop("average_tail") == 0.0
    (folder.path / "config.yaml").write_text(yaml.safe_dump(tree))
    folder.adopt(config())
    assert compared(config().model_dump(mode="json")) == compared(tree)  # which the identity is made of
    averaging = config(trainer={"average_tail": 0.5})
    assert study_identity(averaging, "pool") != study_identity(config(), "pool")
    with pytest.raises(ConfigError, match=r"trainer.average_tail = None, not 0.5"):
        folder.adopt(averaging)


def test_a_study_from_before_there_were_engines_goes_on(
    folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.config.trainer.find_spec", lambda name: True)
    folder.save(finished())
    written = folder.path / "config.yaml"
    before = "".join(line for line in written.read_text().splitlines(True) if "engine: own" not in line)
    assert before != written.read_text()
    written.write_text(before)
    folder.adopt(config())
    with pytest.raises(ConfigError, match=r"evaluation.engine = None, not 'vllm'"):
        folder.adopt(config(evaluation={"engine": "vllm"}))


def test_trials_on_scores_keep_their_keys() -> None:
    """Raters came later: what a trial without them is named by must not change."""
    trial = planned(12, 4, budget_fraction=1.0)
    assert trial.key("study") == "e71af338c55a"
    assert trial.key("study") != planned(12, 4, budget_fraction=1.0, raters=1).key("study")
