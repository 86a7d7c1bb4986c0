"""The last layers under a fitted head, tuned on the same pairs; what lies below them is read once and kept.

The head keeps its weights, those of the best linear fit on the frozen features, and the layers move under it
(first the head, then the layers, as Kumar et al. 2022, arXiv 2202.10054, advise). Low rank keeps what travels
to every worker small.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from base.batching import padded_batches
from metrics.reward.bradley_terry import Indices, Pairs, Vector
from metrics.reward.features import Features, Progress, Row, length
from metrics.reward.low_rank import Attached, attached

if TYPE_CHECKING:
    import torch

LAYERS, RANK = 2, 8
EPOCHS, PROMPTS_A_STEP, LEARNING_RATE = 2, 4, 1e-2
MAX_NORM = 1.0


class Below:
    """The layers under the tuned ones: what they give is recorded once, and given back afterwards."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self._layers = layers[:-LAYERS]
        self.tuned = layers[-LAYERS:]
        self._tupled = False

    @contextmanager
    def recorded(self) -> Iterator[list[torch.Tensor]]:
        """Within the block the states [batch, tokens, hidden] of each batch; none where nothing is below."""
        found: list[torch.Tensor] = []

        def keep(module: Any, inputs: Any, output: Any) -> None:
            self._tupled = isinstance(output, tuple)
            found.append(output[0] if self._tupled else output)

        hook = self._layers[-1].register_forward_hook(keep) if self._layers else None
        try:
            yield found
        finally:
            if hook:
                hook.remove()

    @contextmanager
    def replayed(self, states: torch.Tensor | None) -> Iterator[None]:
        """Within the block the layers give back `states` instead of computing them."""

        def give(*_: Any, **__: Any) -> Any:
            return (states,) if self._tupled else states

        for layer in self._layers:
            layer.forward = give
        try:
            yield
        finally:
            for layer in self._layers:
                del layer.forward  # the class's own comes back


class Tuner:
    """Fits low-rank changes of the last layers on pairs of `rows`.

    `states` holds for each row what lies below the tuned layers, [tokens, hidden]; it is empty where nothing
    does.
    """

    def __init__(
        self, features: Features, below: Below, rows: Sequence[Row], states: Sequence[torch.Tensor]
    ) -> None:
        self._features, self._below, self._rows, self._states = features, below, rows, states

    @contextmanager
    def fitted(
        self, pairs: Pairs, head: Vector, *, seed: int, progress: Progress | None = None
    ) -> Iterator[Attached]:
        """Tune on `pairs` under `head`, weights of raw features; within the block the layers are tuned."""
        import torch

        rng = np.random.default_rng(seed)
        epochs = [_steps(pairs, rng) for _ in range(EPOCHS)]
        steps = [step for epoch in epochs for step in epoch]
        with attached(self._features.model, self._below.tuned, rank=RANK, seed=seed) as found:
            optimiser = torch.optim.AdamW(found.parameters, lr=LEARNING_RATE, weight_decay=0.0)
            schedule = torch.optim.lr_scheduler.LinearLR(
                optimiser, start_factor=1.0, end_factor=0.0, total_iters=len(steps)
            )
            for step in steps:
                rows = step.rows
                values = self._values(rows, head)
                better, worse = (np.searchsorted(rows, side) for side in (step.better, step.worse))
                loss = torch.nn.functional.softplus(values[worse] - values[better]).mean()
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(found.parameters, MAX_NORM)
                optimiser.step()
                schedule.step()
                if progress:
                    progress(len(rows))
            yield found

    def values(self, rows: Indices, head: Vector) -> Vector:
        """The head's values of these rows [R], by the layers as they stand."""
        import torch

        with torch.no_grad():
            found: Vector = self._values(rows, head).cpu().numpy().astype(np.float64)
        return found

    def _values(self, rows: Indices, head: Vector) -> torch.Tensor:
        import torch

        weights = torch.tensor(head, dtype=torch.float32, device=self._features.model.device)
        lengths = [length(self._rows[row]) for row in rows]
        parts, order = [], []
        for batch in padded_batches(lengths, self._features.batch_tokens):
            chosen = [int(rows[index]) for index in batch]
            with self._below.replayed(self._padded(chosen)):
                parts.append(self._features.pooled([self._rows[row] for row in chosen]) @ weights)
            order += batch
        return torch.cat(parts)[np.argsort(order)]

    def _padded(self, rows: Sequence[int]) -> torch.Tensor | None:
        import torch

        if not self._states:
            return None
        found = [self._states[row] for row in rows]
        return torch.nn.utils.rnn.pad_sequence(found, batch_first=True).to(self._features.model.device)


def _steps(pairs: Pairs, rng: np.random.Generator) -> list[Pairs]:
    """The pairs in steps of `PROMPTS_A_STEP` prompts, in an order that `rng` decides."""
    prompts = rng.permutation(np.unique(pairs.prompt))
    starts = range(0, len(prompts), PROMPTS_A_STEP)
    return [pairs.where(np.isin(pairs.prompt, prompts[at : at + PROMPTS_A_STEP])) for at in starts]
