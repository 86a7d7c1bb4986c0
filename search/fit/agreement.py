"""Whether two rewards rank the same splits alike: Kendall's tau, with what the seeds' noise leaves open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search.fit.observations import Floats

DRAWS = 4000


@dataclass(frozen=True)
class Agreement:
    """Kendall's tau of two rankings of `splits` splits: 1 the same order, -1 the opposite one.

    `interval_95` is that over draws of the expected rewards, None where no seeds tell their noise.
    """

    tau: float
    interval_95: tuple[float, float] | None
    splits: int

    def text(self) -> str:
        """`0.33 (95% -0.20 to 0.87, 6 splits)`."""
        low, high = self.interval_95 or (-1.0, 1.0)
        between = f"95% {low:.2f} to {high:.2f}" if self.interval_95 else "one seed each, no interval"
        return f"{self.tau:.2f} ({between}, {self.splits} splits)"


def kendall(one: Floats, other: Floats) -> Floats:
    """Kendall's tau (1938) of rewards [..., splits]: over pairs, the mean product of the gaps' signs."""
    first, second = np.triu_indices(one.shape[-1], k=1)
    signs = np.sign(one[..., first] - one[..., second]) * np.sign(other[..., first] - other[..., second])
    return np.asarray(signs.mean(axis=-1))


def agreement(one: Floats, other: Floats, draws: tuple[Floats, Floats] | None) -> Agreement:
    """Tau of the mean rewards `one` and `other` [splits], and its interval over `draws` of both."""
    found = None
    if draws is not None:
        low, high = np.quantile(kendall(*draws), (0.025, 0.975))
        found = float(low), float(high)
    return Agreement(float(kendall(one, other)), found, len(one))


def paired_agreement(
    one: Sequence[Sequence[float]], other: Sequence[Sequence[float]], seed: int = 0
) -> Agreement:
    """Tau of two rewards of the same trainings: for each split the rewards of its seeds, in one order.

    Both rewards share the luck of a training, so that their noise is drawn together: normal about the means,
    with the covariance of the seeds pooled over splits, heavier-tailed where few seeds tell it.
    """
    pairs = [np.array([a, b], float) for a, b in zip(one, other, strict=True)]
    means = np.array([pair.mean(axis=1) for pair in pairs])
    df = sum(pair.shape[1] - 1 for pair in pairs)
    if not df:
        return agreement(means[:, 0], means[:, 1], None)
    left = np.concatenate([pair - pair.mean(axis=1, keepdims=True) for pair in pairs], axis=1)
    values, vectors = np.linalg.eigh(left @ left.T / df)
    root = vectors * np.sqrt(np.maximum(values, 0))
    generator = np.random.default_rng(seed)
    heavy = np.sqrt(df / generator.chisquare(df, (DRAWS, 1, 1)))
    counts = np.array([pair.shape[1] for pair in pairs], float)
    noise = generator.standard_normal((DRAWS, len(pairs), 2)) @ root.T / np.sqrt(counts)[:, None]
    drawn = means + heavy * noise
    return agreement(means[:, 0], means[:, 1], (drawn[..., 0], drawn[..., 1]))
