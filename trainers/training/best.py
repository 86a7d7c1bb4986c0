"""The policy of a training's best evaluation, kept in memory while the training continues."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor, nn

from trainers.training.weights import copied, replace_weights


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
            self.reward, self.step, self.weights = reward, step, copied(model)

    def restore(self, model: nn.Module) -> None:
        """Give the model the weights of the best evaluation; the optimiser's own copy stays as it is."""
        replace_weights(model, self.weights)
