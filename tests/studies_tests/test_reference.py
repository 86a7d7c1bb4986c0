"""The reference study's stages are configurations that load, and what is gathered is what was trained."""

import csv
import json
from pathlib import Path

import pytest
import yaml

from search.config.load import load_config
from search.plan.space import Space
from studies import reference


def test_every_stage_is_a_part_of_a_grid_that_the_pool_can_serve() -> None:
    for name, part in reference.STAGES:
        config = load_config(
            f"configs/reference_{name}.yaml", {f"search.{field}": value for field, value in part.items()}
        )
        points = Space(config, max_prompts=192).grid()
        assert 4 <= len(points) <= config.search.trials
        assert config.trainer.algorithm.name == name


def test_the_studies_differ_by_algorithm_alone() -> None:
    sft, pro = (load_config(f"configs/reference_{name}.yaml").model_dump() for name in ("sft", "pro"))
    for each in (sft, pro):
        del each["name"], each["trainer"]["algorithm"]
    assert sft == pro


def test_what_is_gathered_names_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, root = tmp_path / "runs" / "reference-sft", tmp_path / "root"
    (folder / "trials").mkdir(parents=True)
    (root / "studies").mkdir(parents=True)
    (folder / "trials.csv").write_text("prompts,responses\n")
    (folder / "config.yaml").write_text("budget: 1536\n")
    seeds = [{"seed": seed, "rewards": [0.25, 1 / 3]} for seed in (0, 1)]
    (folder / "trials" / "abc.json").write_text(json.dumps({"results": seeds}))
    monkeypatch.setattr(reference, "source", lambda folder: {"commit": "c"})
    monkeypatch.setattr(reference, "ROOT", root)
    reference.gather(tmp_path / "runs", whole=False)
    assert (root / "studies" / "reference_sft.csv").read_text() == "prompts,responses\n"
    assert yaml.safe_load((root / "studies" / "reference_sft.yaml").read_text()) == {"commit": "c"}
    assert json.loads((root / "studies" / "reference_sft.json").read_text())["counts"] is False
    with (root / "studies" / "held_out" / "reference_sft.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["trial", "seed", "0", "1"],
        ["abc", "0", "0.25", "0.333333"],
        ["abc", "1", "0.25", "0.333333"],
    ]


def test_a_study_says_where_it_was_made(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text(json.dumps({"pool": {"digest": "d"}}))
    (tmp_path / "base.json").write_text(json.dumps({"base": {"reward": 0.3}}))
    (tmp_path / "config.yaml").write_text("budget: 1536\n")
    facts = reference.source(tmp_path)
    assert (
        facts["base_reward"] == 0.3
        and facts["pool_digest"] == "d"
        and facts["configuration"] == {"budget": 1536}
    )
    assert len(str(facts["commit"])) == 40 and "cores" in str(facts["machine"])
