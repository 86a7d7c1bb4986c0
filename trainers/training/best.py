"""The policy of a training's best evaluation, kept in memory while the training goes on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn


@dataclass
class Best:
    """The highest mean dev reward so far, the step it came at, and a copy of what was trained by then.

    The copy holds this worker's part of the trained weights in their own precision, in CPU memory: under
    ZeRO-3 its shard, so that nothing is gathered.
    """

    reward: float | None = None
    step: int = 0
    weights: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, reward: float, step: int, model: nn.Module) -> None:
        """Take the model as it is now, if `reward` beats the best so far; the earlier of equals stays."""
        if self.reward is None or reward > self.reward:
            self.reward, self.step = reward, step
            self.weights = {name: part.detach().cpu().clone() for name, part in _trained_parts(model)}

    def put_back(self, model: nn.Module) -> None:
        """Give the model the weights of the best evaluation; the optimiser knows nothing of it."""
        with torch.no_grad():
            for name, part in _trained_parts(model):
                part.copy_(self.weights[name])
        _refresh(model)


def _trained_parts(model: nn.Module) -> list[tuple[str, Tensor]]:
    """What this worker holds of each trained parameter."""
    return [
        (name, _held(parameter)) for name, parameter in model.named_parameters() if parameter.requires_grad
    ]


def _held(parameter: Any) -> Tensor:
    """The parameter, or under ZeRO-3 this worker's shard of it."""
    tensor: Tensor = getattr(parameter, "ds_tensor", parameter)
    return tensor.data


def _refresh(model: nn.Module) -> None:
    """Under ZeRO-3, gather again the parameters that are whole at the moment: their shards have changed."""
    for parameter in model.parameters():
        if hasattr(parameter, "ds_tensor") and parameter.numel():
            sharded: Any = parameter
            sharded.partition([sharded])
            sharded.all_gather([sharded])
