"""The answers of a fit read once by the frozen model: their features, and what lies below tuned layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from base.batching import padded_batches
from base.files import write_whole
from metrics.reward.bradley_terry import Matrix, Vector
from metrics.reward.features import Features, Progress, Row, length
from metrics.reward.tuned import Below

if TYPE_CHECKING:
    import torch

PART = 64  # answers in a file: what is lost at most where reading is interrupted
FOLDER = "read"


@dataclass(frozen=True)
class Frozen:
    """Features [N, F] of all answers, and what the tuned layers get of each, [tokens, hidden], if any."""

    rows: Sequence[Row]
    features: Matrix
    states: Sequence[torch.Tensor]

    @cached_property
    def standard(self) -> Vector:
        """The features with mean 0 and standard deviation 1, in float64."""
        exact = self.features.astype(np.float64)
        return np.asarray((exact - exact.mean(0)) / self.scale)

    @cached_property
    def scale(self) -> Vector:
        """What each feature was divided by."""
        spread = self.features.astype(np.float64).std(0)
        return np.where(spread > 0, spread, 1.0)


def read_answers(
    features: Features,
    rows: Sequence[Row],
    *,
    below: Below,
    folder: Path,
    progress: Progress,
    keep: bool = True,
) -> Frozen:
    """Read `rows`, in parts that are kept in `folder`; unless `keep` is false also what lies `below`.

    The parts lie on disk and are mapped into memory, so that there may be more than memory holds.
    """
    from safetensors.torch import load_file

    folder = folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    found, states = [], list["torch.Tensor"]()
    for start in range(0, len(rows), PART):
        part, path = rows[start : start + PART], folder / f"{start // PART:05d}.safetensors"
        if not path.exists():
            _read_part(features, part, below, path, progress, keep)
        tensors = load_file(path)
        found.append(tensors["features"].numpy())
        if "states" in tensors:
            states += tensors["states"].split_with_sizes([*map(length, part)])
    return Frozen(rows, np.concatenate(found), states)


def _read_part(
    features: Features, rows: Sequence[Row], below: Below, path: Path, progress: Progress, keep: bool
) -> None:
    import torch
    from safetensors.torch import save

    matrix = torch.zeros((len(rows), features.width))
    states: dict[int, torch.Tensor] = {}
    for batch in padded_batches([*map(length, rows)], features.batch_tokens):
        with torch.no_grad(), below.recorded() as found:
            matrix[batch] = features.pooled([rows[index] for index in batch]).cpu()
        if found and keep:
            known = found[0].cpu()
            states |= {index: known[row, : length(rows[index])] for row, index in enumerate(batch)}
        progress(len(batch))
    kept = {"states": torch.cat([states[index] for index in range(len(rows))])} if states else {}
    write_whole(path, save({"features": matrix, **kept}))
