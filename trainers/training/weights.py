"""The trained weights that a worker holds, under ZeRO-3 its shards: read, copied, and replaced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def trained_parts(model: nn.Module) -> list[tuple[str, Tensor]]:
    """This worker's part of each trained parameter, by name: the memory itself, outside of autograd."""
    return [
        (name, _part(parameter)) for name, parameter in model.named_parameters() if parameter.requires_grad
    ]


def copied(model: nn.Module) -> dict[str, Tensor]:
    """Copies of these parts in CPU memory, in their own precision."""
    return {name: part.cpu().clone() for name, part in trained_parts(model)}


def replace_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give the model `weights` (of any precision and device) in place of its own, by the same names.

    The optimiser's own copy stays as it is. A collective under ZeRO-3.
    """
    with torch.no_grad():
        for name, part in trained_parts(model):
            part.copy_(weights[name])
    _refresh(model)


def _part(parameter: Any) -> Tensor:
    """The parameter, or under ZeRO-3 this worker's shard of it."""
    tensor: Tensor = getattr(parameter, "ds_tensor", parameter)
    return tensor.data


def _refresh(model: nn.Module) -> None:
    """Under ZeRO-3, gather again the parameters that are gathered now: their shards have changed."""
    for parameter in model.parameters():
        if hasattr(parameter, "ds_tensor") and parameter.numel():
            sharded: Any = parameter
            sharded.partition([sharded])
            sharded.all_gather([sharded])
