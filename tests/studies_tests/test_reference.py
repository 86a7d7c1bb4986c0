"""The reference study's stages are configurations that load, each going on from what was gathered."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from search.config.load import load_config
from search.plan.space import Space
from studies import gather, reference


def test_every_stage_is_a_part_of_a_grid_that_the_pool_can_serve() -> None:
    for name, part in reference.STAGES:
        config = load_config(
            str(reference.config_of(name)), {f"search.{field}": value for field, value in part.items()}
        )
        points = Space(config, max_prompts=192).grid()
        assert 4 <= len(points) <= config.search.trials
        assert config.name == f"reference-{name}" and name.startswith(config.trainer.algorithm.name)


def test_the_studies_differ_by_algorithm_rate_averaging_or_what_is_matched_alone() -> None:
    sft, *others = (
        load_config(str(reference.config_of(name))).model_dump()
        for name in ("sft", "pro", "dpo", "sft-epochs", "sft-averaged")
    )
    for each in (sft, *others):
        del each["name"], each["search"]
        for field in ("algorithm", "learning_rate", "matching", "steps", "epochs", "average_tail"):
            del each["trainer"][field]
    assert all(each == sft for each in others)


def test_a_stage_goes_on_from_what_was_gathered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "ROOT", tmp_path)
    monkeypatch.setattr(gather, "ROOT", tmp_path)
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
    reference.train("sft", {}, tmp_path / "runs", anew=True)
    assert "--search.earlier" not in commands[2]
