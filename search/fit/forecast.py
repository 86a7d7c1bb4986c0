"""Predicted rewards of several splits together: a mixture of multivariate t distributions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from search.fit.observations import Floats


@dataclass(frozen=True)
class Forecast:
    """Joint belief about the expected rewards of P splits, from C weighted parts.

    Part c says: rewards ~ multivariate t with `means[c]`, `covariances[c]` (its scale matrix) and `dfs[c]`.
    """

    weights: Floats  # [C], sum 1
    means: Floats  # [C, P]
    covariances: Floats  # [C, P, P]
    dfs: Floats  # [C]

    @property
    def mean(self) -> Floats:
        """Predicted reward of each split."""
        return np.asarray(self.weights @ self.means)

    @property
    def spreads(self) -> Floats:
        """Scale of each part's belief about each split, [C, P]."""
        return np.sqrt(np.maximum(np.diagonal(self.covariances, axis1=1, axis2=2), 0))

    @property
    def deviation(self) -> Floats:
        """One number for the uncertainty of each split: spread within and between parts."""
        within = self.weights @ self.spreads**2
        return np.sqrt(within + self.weights @ (self.means - self.mean) ** 2)

    def interval(self, level: float = 0.95, extra: Floats | float = 0.0) -> tuple[Floats, Floats]:
        """Equal-tailed interval of each split's expected reward.

        `extra` [C] is a variance added to every part: the seed noise of a new observation.
        """
        spreads = np.sqrt(self.spreads**2 + np.reshape(extra, (-1, 1)))
        return self._quantile((1 - level) / 2, spreads), self._quantile((1 + level) / 2, spreads)

    def _quantile(self, probability: float, spreads: Floats) -> Floats:
        dfs = self.dfs[:, None]
        each = self.means + spreads * stdtrit(dfs, probability)
        low, high = each.min(axis=0), each.max(axis=0)
        safe = np.maximum(spreads, 1e-12)
        for _ in range(32):
            middle = (low + high) / 2
            below = self.weights @ stdtr(dfs, (middle - self.means) / safe) < probability
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return np.asarray((low + high) / 2)

    def combine(self, matrix: Floats) -> Forecast:
        """Joint belief about linear combinations: one for each row of `matrix` [combinations, P]."""
        return Forecast(self.weights, self.means @ matrix.T, matrix @ self.covariances @ matrix.T, self.dfs)

    def probability(self, first: int, second: int) -> float:
        """Probability that split `first` has a higher expected reward than split `second`."""
        gap = self.means[:, first] - self.means[:, second]
        return float(self.weights @ stdtr(self.dfs, gap / np.maximum(self.gap_spreads(first, second), 1e-12)))

    def gap_spreads(self, first: int, second: int) -> Floats:
        """Scale of each part's belief about the gap between two splits, [C]."""
        c = self.covariances
        return np.sqrt(np.maximum(c[:, first, first] + c[:, second, second] - 2 * c[:, first, second], 0))

    def gap_variance(self, first: int, second: int) -> float:
        """Variance of the gap between two splits, spread within and between parts together."""
        gaps = self.means[:, first] - self.means[:, second]
        within = self.weights @ self.gap_spreads(first, second) ** 2
        return float(within + self.weights @ (gaps - self.weights @ gaps) ** 2)

    def draws(self, seed: int, count: int = 4000) -> Floats:
        """`count` joint draws of the rewards, [count, P]; the same for the same seed."""
        generator = np.random.default_rng(seed)
        shares = generator.multinomial(count, self.weights / self.weights.sum())
        roots, found = _roots(self.covariances), []
        for part in np.flatnonzero(shares):
            normal = generator.standard_normal((shares[part], self.means.shape[1])) @ roots[part].T
            heavy = np.sqrt(self.dfs[part] / generator.chisquare(self.dfs[part], shares[part]))
            found.append(self.means[part] + normal * heavy[:, None])
        return np.concatenate(found)


def _roots(covariances: Floats) -> Floats:
    """Cholesky roots of singular covariances too: a hair is added to their diagonals."""
    size = covariances.shape[1]
    trace = np.trace(covariances, axis1=1, axis2=2)
    hair = (1e-10 * trace / size + 1e-300)[:, None, None] * np.eye(size)
    try:
        return np.linalg.cholesky(covariances + hair)
    except np.linalg.LinAlgError:  # rounding left an eigenvalue further below 0
        values, vectors = np.linalg.eigh(covariances)
        return np.asarray(vectors * np.sqrt(np.maximum(values, 0))[:, None, :])


def format_probability(probability: float) -> str:
    """A probability in two digits that never claims certainty."""
    if probability >= 0.995:
        return "over 0.99"
    return f"{probability:.2f}" if probability >= 0.005 else "under 0.01"
