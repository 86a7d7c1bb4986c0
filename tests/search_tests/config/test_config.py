"""Every mistake in a configuration is found before Ray starts, and named with what would be right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from base.errors import ConfigError
from base.settings import fields_of
from search.config.load import find_config, load_config
from search.config.study import StudyConfig

MINIMAL = "name: t\nbudget: 12\npool: {path: demo}\n"


@pytest.fixture
def minimal(tmp_path: Path) -> str:
    path = tmp_path / "study.yaml"
    path.write_text(MINIMAL)
    return str(path)


@pytest.mark.parametrize("name", ["demo.yaml", "smoke.yaml", "configs/demo.yaml", "demo"])
def test_shipped_configurations_are_found_from_anywhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config(name).budget > 0


def test_an_unknown_configuration_lists_the_shipped_ones() -> None:
    with pytest.raises(ConfigError, match=r'"dmeo.yaml".*demo\.yaml'):
        find_config("dmeo.yaml")


def test_overrides_reach_nested_fields_and_lists(minimal: str) -> None:
    overrides = {"trainer.algorithm.name": "sft", "search.responses": "2,8", "budget": "1e3"}
    config = load_config(minimal, overrides | {"trainer.zero_stage": "2"})
    assert config.trainer.algorithm.name == "sft"
    assert config.search.responses == (2, 8)
    assert config.budget == 1000
    assert config.trainer.zero_stage == 2  # one of a few numbers


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"budget": "-1"}, "budget.*-1.*greater than 0"),
        ({"budget": "many"}, "budget.*'many'.*number"),
        ({"trainer.zero_stage": "4"}, "trainer.zero_stage.*4.*0, 1, 2 or 3"),
        ({"trainer.algorithm.name": "ppo"}, "trainer.algorithm.name.*'ppo'.*sft, pro"),
        ({"search.responses": "2,2"}, r"search.responses lists a value twice"),
        ({"search.budget_fractions": "0.5,1.5"}, r"search.budget_fractions holds 1.5"),
        ({"search.responses": "1,2"}, r'search.responses holds 1, but .*"pro" needs at least 2'),
        ({"resources.workers": "32"}, r"trainer.batch_prompts is 16, fewer than resources.workers \(32\)"),
        ({"name": "../x"}, "name = '../x'"),
        ({"reward.kind": "hf"}, "reward.model is not set"),
        ({"search.trials": "[1"}, "search.trials.*not a valid value"),
    ],
)
def test_wrong_values_are_quoted_with_what_is_accepted(
    minimal: str, overrides: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(minimal, overrides)
    assert re.search(said, str(error.value), re.DOTALL), str(error.value)


@pytest.mark.parametrize(
    "stage", ["trainer: {zero_stage: 3}", "search: {space: {trainer.zero_stage: [1, 3]}}"]
)
def test_vllm_is_refused_where_no_worker_has_the_whole_model(
    tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.config.trainer.find_spec", lambda name: True)
    path = tmp_path / "study.yaml"
    path.write_text(MINIMAL)
    assert load_config(str(path), {"evaluation.engine": "vllm"}).evaluation.engine == "vllm"
    path.write_text(MINIMAL + stage + "\n")
    with pytest.raises(ConfigError, match=r"trainer\.zero_stage is 3.*engine own, or a stage from 0 to 2"):
        load_config(str(path), {"evaluation.engine": "vllm"})


def test_misspelt_fields_are_refused_with_the_nearest_name(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(MINIMAL + "trainer: {learning_rte: 1.0e-5}\n")
    with pytest.raises(ConfigError, match=r'trainer\.learning_rte" \(did you mean "learning_rate"\?\)'):
        load_config(str(path))


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "a: b: c"])
def test_files_that_are_no_mapping_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(str(path))):
        load_config(str(path))


def test_every_field_says_what_it_is() -> None:
    silent = [name for name, info in fields_of(StudyConfig) if not info.description]
    assert not silent
