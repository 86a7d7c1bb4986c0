"""The policy of a training's best evaluation, kept in memory while the training continues."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class BestPolicy:
    """The highest mean dev reward so far, its step, and a copy of the trained weights at that step.

    The copy is this worker's part of them in their own precision, in CPU memory: under ZeRO-3 its shard,
    so that nothing is gathered.
    """

    reward: float | None = None
    step: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def update(self, reward: float, step: int, model: nn.Module) -> None:
        """Copy the model as it is now if `reward` exceeds the best so far; ties keep the earlier."""
        if self.reward is None or reward > self.reward:
            self.reward, self.step = reward, step
            self.weights = {name: part.detach().cpu().clone() for name, part in _trained_parts(model)}

    def restore(self, model: nn.Module) -> None:
        """Give the model the weights of the best evaluation; the optimiser's own copy stays as it is."""
        with torch.no_grad():
            for name, part in _trained_parts(model):
                part.copy_(self.weights[name])
        _refresh(model)


def _trained_parts(model: nn.Module) -> list[tuple[str, Tensor]]:
    """This worker's part of each trained parameter."""
    return [
        (name, _part(parameter)) for name, parameter in model.named_parameters() if parameter.requires_grad
    ]


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
