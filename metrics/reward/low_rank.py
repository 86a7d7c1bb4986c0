"""Low-rank changes of a model's weights (LoRA, Hu et al. 2021, arXiv 2106.09685): W + up @ down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import sqrt
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from base.errors import RewardError

if TYPE_CHECKING:
    import torch

# `up.NAME` [out, rank] and `down.NAME` [rank, in] of each changed weight, NAME its module's in the model.
Change: TypeAlias = dict[str, NDArray[np.float32]]
_UP, _DOWN = "up.", "down."


class Attached:
    """The changes of some weights while they are trained; they begin as no change at all."""

    def __init__(self, names: Sequence[str], modules: Sequence[Any], rank: int, seed: int) -> None:
        import torch

        generator = torch.Generator().manual_seed(seed)
        self._parts: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        for name, module in zip(names, modules, strict=True):
            out, into = module.weight.shape
            down = torch.randn((rank, into), generator=generator) / sqrt(into)
            up = torch.zeros((out, rank))
            device = module.weight.device
            self._parts[name] = (
                up.to(device).requires_grad_(),
                down.to(device).requires_grad_(),
            )

    @property
    def parameters(self) -> list[torch.Tensor]:
        """What is trained."""
        return [part for parts in self._parts.values() for part in parts]

    def of(self, name: str) -> tuple[torch.Tensor, torch.Tensor]:
        """`up` and `down` of the weight of module `name`."""
        return self._parts[name]

    def change(self) -> Change:
        """The changes as they stand."""
        found: Change = {}
        for name, (up, down) in self._parts.items():
            found[_UP + name], found[_DOWN + name] = (part.detach().cpu().numpy() for part in (up, down))
        return found


@contextmanager
def attached(model: Any, layers: Sequence[Any], *, rank: int, seed: int) -> Iterator[Attached]:
    """Change every matrix in `layers` by what the block trains; afterwards the weights are as before."""
    from torch.nn import Module
    from torch.nn.utils import parametrize

    inside = {id(module) for layer in layers for module in layer.modules()}
    names, modules = [], []
    for name, module in model.named_modules():
        if id(module) in inside and getattr(getattr(module, "weight", None), "ndim", 0) == 2:
            names.append(name)
            modules.append(module)
    found = Attached(names, modules, rank, seed)

    class Changed(Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self._name = name

        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return changed(weight, *found.of(self._name))

    for name, module in zip(names, modules, strict=True):
        parametrize.register_parametrization(module, "weight", Changed(name))
    try:
        yield found
    finally:
        for module in modules:
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=False)


def changed(weight: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """`weight` with its change, summed in float32."""
    return (weight.float() + up @ down).to(weight.dtype)


def apply_change(model: Any, change: Mapping[str, NDArray[Any]]) -> None:
    """Change the model's weights for good; raises RewardError where it has no such weights."""
    import torch

    modules = dict(model.named_modules())
    for key, up in change.items():
        if not key.startswith(_UP):
            continue
        name, down = key.removeprefix(_UP), change[_DOWN + key.removeprefix(_UP)]
        weight = getattr(modules.get(name), "weight", None)
        if weight is None or tuple(weight.shape) != (up.shape[0], down.shape[1]):
            raise RewardError(
                f"the head's layers change {name!r} of shape {up.shape[0]} x {down.shape[1]}, which the base "
                "model does not have; it was fitted on another base model"
            )
        parts = (torch.from_numpy(part).to(weight.device) for part in (up, down))
        weight.data = changed(weight.data, *parts)
