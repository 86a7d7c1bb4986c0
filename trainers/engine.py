"""The DeepSpeed engine: the one file that touches DeepSpeed."""

from __future__ import annotations

import logging
import os
from typing import Any

import torch

from trainers.config import TrainerConfig
from trainers.deepspeed_config import engine_config
from trainers.schedule import learning_rate_factor

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def import_deepspeed() -> Any:
    """Import DeepSpeed for the accelerator at hand, quietly, without compiling anything."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    # The shared-memory collective is compiled for 40 s on first use; gloo gives the same losses at once.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed


def build_engine(policy: torch.nn.Module, config: TrainerConfig, steps: int) -> Any:
    """Wrap `policy` in a DeepSpeed engine with AdamW and the configured schedule over `steps`.

    torch's fused AdamW is handed in because it steps about three times faster than the default loop.
    A process group must exist.
    """
    deepspeed = import_deepspeed()
    optimizer = torch.optim.AdamW(
        [parameter for parameter in policy.parameters() if parameter.requires_grad],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        fused=True,
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, config, steps)
    )
    engine, *_ = deepspeed.initialize(
        model=policy,
        optimizer=optimizer,
        lr_scheduler=scheduler,
        config=engine_config(config),
        dist_init_required=False,
    )
    return engine


def whole_weights(model: torch.nn.Module, *, keep: bool) -> dict[str, torch.Tensor]:
    """Copies of all parameters by name, in CPU memory, on the workers that `keep` them; the others get none.

    Under ZeRO-3 the shards of one parameter at a time are gathered: a collective.
    """
    deepspeed = import_deepspeed()
    weights = {}
    for name, parameter in model.named_parameters():
        with deepspeed.zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
            if keep:
                weights[name] = parameter.detach().cpu().clone()
    return weights
