"""The mean of a policy's weights over the last steps of its training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from trainers.training.weights import copied, replace_weights, trained_parts


@dataclass
class TailAverage:
    """The mean of the trained weights after step `begins` and after each step since, in float32.

    Averaging of iterates (Polyak and Juditsky 1992, SIAM J. Control Optim. 30(4)); of a network's weights
    over the end of its training: Izmailov et al. 2018, arXiv 1803.05407. The mean is this worker's part, on
    the device of the weights: under ZeRO-3 of its shard, so that nothing is gathered. torch's own
    `AveragedModel` does not fit: it copies the module, whose parameters are empty under ZeRO-3, with what is
    frozen, and keeps the mean in the module's own precision.

    `steps` weights have gone into `mean`.
    """

    begins: int
    steps: int = 0
    mean: dict[str, Tensor] = field(default_factory=dict)

    def steps_at(self, step: int) -> int:
        """How many steps' weights are averaged once `step` is taken."""
        return max(0, step - self.begins + 1)

    @torch.no_grad()
    def update(self, step: int, model: nn.Module) -> None:
        """Take in the weights of the model as they are after `step`; call it after each step, in order."""
        if step < self.begins:
            return
        self.steps += 1
        for name, part in trained_parts(model):
            if name in self.mean:
                mean = self.mean[name].to(part.device)  # that of a checkpoint is in CPU memory
                self.mean[name] = mean.lerp_(part.float(), 1 / self.steps)
            else:
                self.mean[name] = part.to(torch.float32, copy=True)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Within the block the model has the mean so far, if there is one; then exactly its own weights."""
        if not self.steps:
            yield
            return
        own = copied(model)
        replace_weights(model, self.mean)
        try:
            yield
        finally:
            replace_weights(model, own)

    def apply(self, model: nn.Module) -> None:
        """Give the model the mean, rounded to its precision, where there is one."""
        if self.steps:
            replace_weights(model, self.mean)
