"""The user's DeepSpeed configuration is merged in, and refused by name where it disagrees with our fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from base.errors import ConfigError
from search.config.load import load_config
from trainers.config.engine import engine_config
from trainers.config.trainer import TrainerConfig


def test_our_fields_decide() -> None:
    config = engine_config(TrainerConfig(zero_stage=3, dtype="fp16", grad_clip=0.5, offload="all"))
    assert config["zero_optimization"]["stage"] == 3
    assert config["zero_optimization"]["offload_optimizer"] == {"device": "cpu"}
    assert config["zero_optimization"]["offload_param"] == {"device": "cpu"}
    assert config["fp16"] == {"enabled": True} and config["bf16"] == {"enabled": False}
    assert config["gradient_clipping"] == 0.5
    assert "offload_optimizer" not in engine_config(TrainerConfig())["zero_optimization"]


def test_other_keys_are_merged_into_ours() -> None:
    theirs = {
        "wall_clock_breakdown": True,
        "fp16": {"initial_scale_power": 8},
        "zero_optimization": {"stage": "auto", "overlap_comm": False, "reduce_bucket_size": 5},
        "train_batch_size": "auto",
        "gradient_clipping": 1.0,
    }
    merged = engine_config(TrainerConfig(deepspeed=theirs))
    assert merged["wall_clock_breakdown"] is True
    assert merged["fp16"] == {"enabled": False, "initial_scale_power": 8}
    assert (
        merged["zero_optimization"] | {"overlap_comm": False, "reduce_bucket_size": 5, "stage": 1}
        == (merged["zero_optimization"])
    )
    assert "train_batch_size" not in merged


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({}, {"grad_accum_dtype": "fp32"}),
        ({"deepspeed": {"data_types": {"grad_accum_dtype": "bf16"}}}, {"grad_accum_dtype": "bf16"}),
        ({"zero_stage": 0}, None),
        ({"dtype": "fp32"}, None),
    ],
)
def test_bf16_gradients_are_added_up_in_fp32(
    trainer: dict[str, Any], expected: dict[str, str] | None
) -> None:
    assert engine_config(TrainerConfig(**trainer)).get("data_types") == expected


@pytest.mark.parametrize(
    ("theirs", "field"),
    [
        ({"zero_optimization": {"stage": 2}}, "zero_optimization.stage is 2.*trainer.zero_stage"),
        ({"optimizer": {"type": "Adam"}}, "optimizer.*trainer.learning_rate and trainer.weight_decay"),
        ({"scheduler": {}}, "scheduler.*trainer.schedule and trainer.warmup_fraction"),
        ({"bf16": {"enabled": False}}, "bf16.enabled is false.*trainer.dtype"),
        ({"train_micro_batch_size_per_gpu": 4}, "per_gpu is 4.*trainer.micro_batch_tokens"),
        ({"gradient_accumulation_steps": 8}, "steps is 8.*trainer.batch_prompts"),
        ({"data_types": "fp16"}, "data_types is .fp16., but must be"),
        ({"gradient_clipping": 0.1}, "gradient_clipping is 0.1.*trainer.grad_clip"),
        ({"zero_optimization": {"offload_param": {"device": "nvme"}}}, "device is .nvme.*trainer.offload"),
        ({"bf16": True}, "bf16 is true, but must be"),
    ],
)
def test_conflicts_name_the_field_to_set(theirs: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"trainer.deepspeed: .*{field}"):
        TrainerConfig(deepspeed=theirs)


def test_all_conflicts_are_told_at_once() -> None:
    with pytest.raises(ValueError, match="amp is true.*gradient_clipping is 3"):
        TrainerConfig(deepspeed={"amp": True, "gradient_clipping": 3})


def test_a_file_is_read_with_the_study(tmp_path: Path) -> None:
    file, study = tmp_path / "ds.json", tmp_path / "study.yaml"
    file.write_text(json.dumps({"wall_clock_breakdown": True}))
    study.write_text(f"budget: 12\npool: {{path: demo}}\ntrainer: {{deepspeed: {file}}}\n")
    assert load_config(str(study)).trainer.deepspeed == {"wall_clock_breakdown": True}
    file.write_text("{")
    with pytest.raises(ConfigError, match=r"trainer.deepspeed = .*is not valid JSON"):
        load_config(str(study))
    with pytest.raises(ConfigError, match=r"nowhere.json.*No such file"):
        load_config(str(study), {"trainer.deepspeed": "nowhere.json"})


@pytest.mark.parametrize(("offload", "stage"), [("optimizer", 0), ("all", 0), ("all", 1), ("all", 2)])
def test_offload_asks_for_a_stage(offload: Any, stage: Any) -> None:
    with pytest.raises(
        ValueError, match=f'trainer.offload is "{offload}", but trainer.zero_stage is {stage}'
    ):
        TrainerConfig(offload=offload, zero_stage=stage)


def test_offload_without_gpus_is_refused() -> None:
    with pytest.raises(ConfigError, match="resources.gpus_per_worker is 0"):
        load_config("demo.yaml", {"trainer.offload": "optimizer"})
