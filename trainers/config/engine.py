"""DeepSpeed's configuration: ours and the user's own, merged. Imports neither torch nor DeepSpeed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from base.errors import ConfigError

# Keys of DeepSpeed's configuration, and the trainer fields that decide them.
_OWNERS = {
    "train_batch_size": "batch_prompts",
    "train_micro_batch_size_per_gpu": "micro_batch_tokens",
    "gradient_accumulation_steps": "batch_prompts and micro_batch_tokens",
    "gradient_clipping": "grad_clip",
    "optimizer": "learning_rate and weight_decay",
    "scheduler": "schedule and warmup_fraction",
    "bf16.enabled": "dtype",
    "fp16.enabled": "dtype",
    "amp": "dtype",
    "activation_checkpointing": "activation_checkpointing",
    "zero_optimization.stage": "zero_stage",
    "zero_optimization.offload_optimizer.device": "offload",
    "zero_optimization.offload_param.device": "offload",
}
_DEFAULTS = {"data_types.grad_accum_dtype"}  # ours only where the user gives none


class EngineFields(Protocol):
    """The trainer fields that DeepSpeed's configuration follows from."""

    @property
    def zero_stage(self) -> int: ...

    @property
    def offload(self) -> str: ...

    @property
    def dtype(self) -> str: ...

    @property
    def grad_clip(self) -> float: ...

    @property
    def deepspeed(self) -> Mapping[str, Any]: ...


def read_deepspeed(value: object) -> object:
    """A user's DeepSpeed configuration: the content of the JSON file `value`, or `value` itself."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(Path(value).read_text())
    except OSError as error:
        raise ConfigError(f'cannot read "{value}": {error.strerror}') from error
    except ValueError as error:
        raise ConfigError(f'"{value}" is not valid JSON: {error}') from error


def engine_config(config: EngineFields) -> dict[str, Any]:
    """DeepSpeed's configuration for `config`, with `config.deepspeed` merged in key by key.

    The user's value "auto" stands for ours. Raises ConfigError naming every key that one of our fields
    decides and whose value is neither "auto" nor ours.
    """
    conflicts: list[str] = []
    merged = _merge(_ours(config), config.deepspeed, "", conflicts)
    if conflicts:
        raise ConfigError("; ".join(conflicts))
    return merged


def _ours(config: EngineFields) -> dict[str, Any]:
    """Accumulation steps are 1: the loop cuts micro-batches by tokens, and their number differs by step."""
    zero: dict[str, Any] = {
        "stage": config.zero_stage,
        "stage3_gather_16bit_weights_on_model_save": config.zero_stage == 3,
    }
    if config.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu"}
    if config.offload == "all":
        zero["offload_param"] = {"device": "cpu"}
    # Otherwise gradients of micro-batches are added up in bf16, and more slowly. Stage 0 has no other way.
    precise = config.dtype == "bf16" and config.zero_stage > 0
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": config.grad_clip,
        "bf16": {"enabled": config.dtype == "bf16"},
        "fp16": {"enabled": config.dtype == "fp16"},
        **({"data_types": {"grad_accum_dtype": "fp32"}} if precise else {}),
        "zero_optimization": zero,
        # torch's fused AdamW steps on CPU memory as well, and needs no compiling on first use.
        "zero_force_ds_cpu_optimizer": False,
    }


def _merge(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], prefix: str, conflicts: list[str]
) -> dict[str, Any]:
    merged = dict(ours)
    for key, value in theirs.items():
        name = prefix + key
        if value == "auto" or (key in ours and value == ours[key]):
            continue
        if name in _OWNERS:
            conflicts.append(f"{name} is {json.dumps(value)}, but it is set by {_fields(_OWNERS[name])}")
        elif isinstance(value, Mapping) and isinstance(ours.get(key, {}), Mapping):
            merged[key] = _merge(ours.get(key, {}), value, f"{name}.", conflicts)
        elif key in ours and name not in _DEFAULTS:
            conflicts.append(f"{name} is {json.dumps(value)}, but must be {json.dumps(ours[key])}")
        else:
            merged[key] = value
    return merged


def _fields(names: str) -> str:
    return " and ".join(f"trainer.{name}" for name in names.split(" and "))
