"""`reward` as a list: the first decides, a single mapping means what it always did."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from base.errors import ConfigError
from search.config.load import load_config
from search.config.study import StudyConfig
from search.study.folder import StudyFolder, study_identity

OTHER = {"kind": "verifier", "function": "mine:score"}
MINIMAL = "name: t\nbudget: 12\npool: {path: demo}\n"


def config(**changes: object) -> StudyConfig:
    return StudyConfig.model_validate({"budget": 48, "pool": {"path": "demo"}, **changes})


def test_the_first_of_a_list_decides_and_the_others_are_further() -> None:
    found = config(reward=[OTHER, {"kind": "fitted"}])
    assert found.reward.function == "mine:score"
    assert [one.kind for one in found.further_rewards] == ["fitted"]
    assert [one.kind for one in found.rewards] == ["verifier", "fitted"]
    assert config(reward=OTHER) == config(reward=[OTHER])


def test_a_written_list_is_read_as_the_same_study(tmp_path: Path) -> None:
    folder, found = StudyFolder(tmp_path / "study"), config(reward=[OTHER, {"kind": "fitted"}])
    folder.path.mkdir()
    folder.adopt(found)
    assert load_config(str(folder.path / "config.yaml")) == found


def test_further_models_make_another_study_and_none_the_same_as_before() -> None:
    plain = config().model_dump(mode="json")
    assert plain.pop("further_rewards") == []
    assert study_identity(config(), "pool") != study_identity(config(reward=[{}, OTHER]), "pool")
    older = config()
    assert study_identity(older, "pool") == study_identity(StudyConfig.model_validate(plain), "pool")


def test_a_folder_of_an_older_version_goes_on(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "study")
    folder.path.mkdir()
    folder.adopt(config())
    kept = folder.path / "config.yaml"
    older = yaml.safe_load(kept.read_text())
    del older["further_rewards"]
    kept.write_text(yaml.safe_dump(older))
    (folder.trials / "abc.json").write_text("{}")
    folder.adopt(config())
    with pytest.raises(ConfigError, match="further_rewards"):
        folder.adopt(config(reward=[{}, OTHER]))


@pytest.mark.parametrize(
    ("reward", "said"),
    [
        ([], "reward is an empty list"),
        ([OTHER, OTHER], r"reward lists verifier \(mine:score\) twice"),
        ([{"kind": "fitted"}, {"kind": "fitted"}], "twice"),
        ([OTHER, {"kind": "hf"}], "reward.model is not set"),
    ],
)
def test_a_list_that_cannot_serve_is_refused(reward: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config(reward=reward)


def test_a_flag_says_that_it_cannot_reach_into_a_list(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(MINIMAL + "reward: [{kind: fitted}, {function: 'mine:score'}]\n")
    with pytest.raises(ConfigError, match=r"--reward.kind: reward is a list in the file"):
        load_config(str(path), {"reward.kind": "verifier"})
    path.write_text(MINIMAL)
    found = load_config(str(path), {"further_rewards": "[{kind: fitted}]", "reward.function": "mine:score"})
    assert [one.source for one in found.rewards] == [
        "verifier (mine:score)", "fitted (fitted on the pool's own scores)",
    ]  # fmt: skip


def test_a_list_and_further_rewards_together_are_refused() -> None:
    with pytest.raises(ValueError, match="put all of them into the list"):
        config(reward=[OTHER, {"kind": "fitted"}], further_rewards=[{"kind": "fitted"}])


def test_one_model_is_fitted_in_a_study() -> None:
    with pytest.raises(ValueError, match='both "fitted"'):
        config(
            reward=[OTHER, {"kind": "fitted"}],
            dev_reward={"kind": "fitted"},
            evaluation={"dev_prompts": 4, "every": 2},
        )
