"""The DeepSpeed engine: the one file that touches DeepSpeed."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from trainers.config.engine import engine_config
from trainers.config.trainer import TrainerConfig
from trainers.training.schedule import learning_rate_factor

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def import_deepspeed() -> Any:
    """Import DeepSpeed for the accelerator at hand, without its log output and without compiling anything.

    Its autotuner would import MLflow, and its Muon optimiser torch's compiler: two seconds of every
    worker's start for features that are not used here.
    """
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    with _absent("mlflow"), _uncompiled():
        import deepspeed
        import deepspeed.runtime.bf16_optimizer
        import deepspeed.runtime.zero.muon.original_muon  # else imported by `initialize`

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    # The shared-memory collective is compiled for 40 s on first use; gloo gives the same losses at once.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    # The optimiser's constructor would print memory use four times, each after a garbage collection.
    deepspeed.runtime.bf16_optimizer.see_memory_usage = lambda *_, **__: None
    return deepspeed


@contextmanager
def _absent(module: str) -> Iterator[None]:
    """Let an import of `module` fail, unless it is imported already."""
    if module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]


@contextmanager
def _uncompiled() -> Iterator[None]:
    """Make `torch.compile` a no-op: as a decorator it would load the compiler at once."""
    compiler = torch.compile
    torch.compile = lambda function=None, **_: function or (lambda later: later)  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.compile = compiler


def build_engine(policy: torch.nn.Module, config: TrainerConfig, steps: int) -> Any:
    """Wrap `policy` in a DeepSpeed engine with AdamW and the configured schedule over `steps`.

    torch's fused AdamW is passed in because it steps about three times faster than the default loop.
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
    """Copies of all parameters by name, in CPU memory, on the workers that `keep` them; {} on the others.

    Under ZeRO-3 the shards of one parameter at a time are gathered: a collective.
    """
    deepspeed = import_deepspeed()
    weights = {}
    for name, parameter in model.named_parameters():
        with deepspeed.zero.GatheredParameters([parameter]):
            if keep:
                weights[name] = parameter.detach().cpu().clone()
    return weights
