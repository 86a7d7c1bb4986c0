"""A linear Bradley-Terry model: P(a is preferred to b) = sigmoid(w . (x_a - x_b)), Bradley and Terry 1952."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from pools.types import Compared

Vector = NDArray[np.float64]
Matrix = NDArray[np.floating[Any]]
Indices = NDArray[np.int64]

_L2_GRID = (10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01)


@dataclass(frozen=True)
class Pairs:
    """Pairs of answers to one prompt: rows of the better and of the worse one, and the prompt's number."""

    better: Indices
    worse: Indices
    prompt: Indices

    def __len__(self) -> int:
        return len(self.better)

    @property
    def rows(self) -> Indices:
        """The rows that are in some pair, in order."""
        return np.union1d(self.better, self.worse)

    def where(self, mask: NDArray[np.bool_]) -> Pairs:
        """The pairs that `mask` [pairs] keeps."""
        return Pairs(self.better[mask], self.worse[mask], self.prompt[mask])


def pairs_of(scores: Sequence[Sequence[float]], compared: Sequence[Compared | None] = ()) -> Pairs:
    """All pairs of unequal scores within each prompt or, where it says which were `compared`, those.

    Rows are numbered through all prompts in order.
    """
    found: list[tuple[int, int, int]] = []
    start = 0
    for prompt, (row, pairs) in enumerate(zip_longest(scores, compared)):
        values = np.asarray(row, dtype=float)
        if pairs is None:
            pairs = tuple(zip(*np.nonzero(values[:, None] > values[None, :]), strict=True))
        found.extend((start + int(better), start + int(worse), prompt) for better, worse in pairs)
        start += len(row)
    columns = np.array(found, dtype=np.int64).reshape(-1, 3).T
    return Pairs(*columns)


def fit(features: Matrix, pairs: Pairs, *, l2: float, start: Vector | None = None) -> Vector:
    """Weights [F] that minimise mean log-loss over the pairs + l2 / 2 x |w|^2; `features` standardised."""

    def objective(weights: Vector) -> tuple[float, Vector]:
        values = features @ weights
        margin = values[pairs.better] - values[pairs.worse]
        loss = np.logaddexp(0.0, -margin).mean() + l2 / 2 * weights @ weights
        slope = -expit(-margin) / len(pairs)
        per_row = np.bincount(pairs.better, slope, len(features)) - np.bincount(
            pairs.worse, slope, len(features)
        )
        return float(loss), features.T @ per_row + l2 * weights

    initial = np.zeros(features.shape[1]) if start is None else start
    solution: Any = minimize(objective, initial, jac=True, method="L-BFGS-B", options={"maxiter": 200})
    weights: Vector = solution.x
    return weights


@dataclass(frozen=True)
class Fold:
    """A part of the prompts, the pairs of the others, and the weights fitted on those."""

    rest: Pairs
    left_out: Pairs
    weights: Vector


@dataclass(frozen=True)
class CrossFit:
    """Each row's value [N] by a head fitted on other prompts (0 without a pair), and the best penalty."""

    values: Vector
    l2: float
    folds: list[Fold]


def cross_fit(features: Matrix, pairs: Pairs, *, folds: int, rng: np.random.Generator) -> CrossFit:
    """Fit on all folds but one, for each of them in turn, and value the rows of that one.

    A fold's penalty is the one with the least log-loss on the other folds, so that its values do not
    depend on its own scores. `l2` is the one with the least over all.
    """
    losses = np.zeros((len(_L2_GRID), folds))
    parts = []
    for fold, (rest, left_out) in enumerate(split_prompts(pairs, folds=folds, rng=rng)):
        path = _path(features, rest)
        margins = path @ (features[left_out.better] - features[left_out.worse]).T
        losses[:, fold] = np.logaddexp(0.0, -margins).sum(1)
        parts.append((rest, left_out, path))
    values, found = np.zeros(len(features)), []
    for fold, (rest, left_out, path) in enumerate(parts):
        weights = path[(losses.sum(1) - losses[:, fold]).argmin()]
        rows = left_out.rows
        values[rows] = features[rows] @ weights
        found.append(Fold(rest, left_out, weights))
    return CrossFit(values, _L2_GRID[int(losses.sum(1).argmin())], found)


def _path(features: Matrix, pairs: Pairs) -> Vector:
    """Weights [penalties, F], each fit starting from that of the stronger penalty before it."""
    path: list[Vector] = []
    for l2 in _L2_GRID:
        path.append(fit(features, pairs, l2=l2, start=path[-1] if path else None))
    return np.stack(path)


def split_prompts(pairs: Pairs, *, folds: int, rng: np.random.Generator) -> Iterator[tuple[Pairs, Pairs]]:
    """(the others' pairs, this fold's pairs) for each fold of the prompts, in an order that `rng` decides."""
    prompts = rng.permutation(np.unique(pairs.prompt))
    for fold in range(folds):
        inside = np.isin(pairs.prompt, prompts[fold::folds])
        yield pairs.where(~inside), pairs.where(inside)


def accuracy(values: NDArray[Any], pairs: Pairs) -> tuple[float, float]:
    """Share of pairs whose better answer has the larger value (ties count half), with its standard error.

    The error is that of a ratio over prompts as clusters: pairs of one prompt are not independent.
    """
    right = 0.5 + 0.5 * np.sign(values[pairs.better] - values[pairs.worse])
    share = float(right.mean())
    _, cluster = np.unique(pairs.prompt, return_inverse=True)
    clusters = int(cluster.max()) + 1
    residuals = np.bincount(cluster, right - share)
    correction = clusters / max(clusters - 1, 1)
    return share, float(np.sqrt(correction * (residuals**2).sum()) / len(pairs))
