"""A DeepSpeed engine that answers only what the training loop uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch

from trainers.policy.batching import Batch


@dataclass
class FakeEngine:
    """Trains nothing: its forward pass gives None, its gradient's norm is 1.

    `path` is how its policy encodes prompts; `calls` names the calls of the loop in order.
    """

    path: str = "segments"
    calls: list[str] = field(default_factory=list)

    @property
    def module(self) -> Any:
        return SimpleNamespace(path=self.path)

    def __call__(self, batch: Batch) -> None:
        self.calls.append("forward")

    def backward(self, loss: torch.Tensor) -> None:
        self.calls.append("backward")

    def set_gradient_accumulation_boundary(self, is_boundary: bool) -> None:
        self.calls.append("boundary" if is_boundary else "within")

    def step(self) -> None:
        self.calls.append("step")

    def get_lr(self) -> list[float]:
        return [0.1]

    def get_global_grad_norm(self) -> float:
        return 1.0
