"""Krippendorff's alpha: how far raters agree beyond chance, over all, for each rater and for each prompt.

As in Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", for ordinal values with any number of
raters and missing values; 1 is full agreement, 0 is chance, negative is less than chance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix

from annotation.ratings.intake import Judgement

Floats = NDArray[np.float64]
DRAWS, _AT_ONCE = 1000, 50  # of the bootstrap
Values = dict[str, float]  # rater -> value


@dataclass(frozen=True)
class Unit:
    """What several raters gave a value to: a response or, for pairs, which of two is better."""

    prompt: str
    values: Values


@dataclass(frozen=True)
class Agreement:
    """Alpha over all with its 95% bootstrap interval over prompts, of each rater, and of each prompt.

    A rater's alpha is 1 less that rater's disagreement with the others over that expected by chance; a
    prompt's likewise. None where nothing was judged twice, or all values are the same.
    """

    alpha: float | None
    interval_95: tuple[float, float] | None
    raters: Mapping[str, float]
    prompts: Mapping[str, float]


def agreement(judgements: Sequence[Judgement], *, seed: int = 0) -> Agreement:
    """The agreement in these judgements.

    Rankings of more than two and ratings are compared response by response; of two responses, by which is
    better (each pair enters both ways round, so that it does not matter which is named first). Where both
    were asked for, pairs are.
    """
    units = [unit for unit in units_of(judgements) if len(unit.values) > 1]
    levels = sorted({value for unit in units for value in unit.values.values()})
    prompts = sorted({unit.prompt for unit in units})
    if len(levels) < 2:
        return Agreement(None, None, {}, {})
    found = _Coincidences(units, levels, prompts)
    everything = np.ones(len(prompts))
    alpha = float(found.alphas(everything[None, :])[0])
    rng = np.random.default_rng(seed)
    shares = everything / len(prompts)
    drawn = [found.alphas(rng.multinomial(len(prompts), shares, _AT_ONCE)) for _ in range(DRAWS // _AT_ONCE)]
    low, high = np.nanpercentile(np.concatenate(drawn), [2.5, 97.5])
    return Agreement(alpha, (float(low), float(high)), found.by_rater(), found.by_prompt())


def units_of(judgements: Sequence[Judgement]) -> Iterator[Unit]:
    """The units that these judgements give values to."""
    pairs = any(each.measure == "rank" and len(each.values) == 2 for each in judgements)
    found: dict[tuple[str, ...], Values] = defaultdict(dict)
    for each in judgements:
        parts = _leads(each) if pairs else {(name,): value for name, value in each.values.items()}
        for names, value in parts.items():
            found[(each.prompt, *names)][each.rater] = value
    for (prompt, *_), values in found.items():
        yield Unit(prompt, values)
        if pairs:
            yield Unit(prompt, {rater: -value for rater, value in values.items()})


def _leads(judgement: Judgement) -> dict[tuple[str, ...], float]:
    """1, 0 or -1 for each two responses, named in the order of their names."""
    return {
        (one, other): float(np.sign(judgement.worth(one) - judgement.worth(other)))
        for one, other in combinations(sorted(judgement.values), 2)
    }


class _Coincidences:
    """How often two raters gave a unit the values c and k, for each prompt, and for each rater."""

    def __init__(self, units: Sequence[Unit], levels: Sequence[float], prompts: Sequence[str]) -> None:
        self._prompts, self._size = prompts, len(levels)
        level = {value: index for index, value in enumerate(levels)}
        row = {prompt: index for index, prompt in enumerate(prompts)}
        self._raters = sorted({rater for unit in units for rater in unit.values})
        who = {rater: index for index, rater in enumerate(self._raters)}
        cells = [
            (row[unit.prompt], who[one], level[a] * self._size + level[b], 1 / (len(unit.values) - 1))
            for unit in units
            for one, a in unit.values.items()
            for other, b in unit.values.items()
            if one != other
        ]
        at, whose, cell, share = np.array(cells).T
        self._by_prompt = self._table(at, cell, share, len(prompts))
        self._by_rater = self._table(whose, cell, share, len(self._raters))

    def _table(self, rows: Floats, cells: Floats, shares: Floats, count: int) -> csr_matrix:
        indices = (rows.astype(int), cells.astype(int))
        return coo_matrix((shares, indices), shape=(count, self._size**2)).tocsr()

    def alphas(self, counts: NDArray[Any]) -> Floats:
        """Alpha for each row of `counts` [draws, prompts]: how often each prompt is drawn."""
        tables = (counts @ self._by_prompt).reshape(-1, self._size, self._size)
        return np.array([_alpha(table) for table in tables])

    def by_rater(self) -> dict[str, float]:
        """Each rater's own alpha."""
        return dict(zip(self._raters, self._parts(self._by_rater), strict=True))

    def by_prompt(self) -> dict[str, float]:
        """Each prompt's own alpha."""
        return dict(zip(self._prompts, self._parts(self._by_prompt), strict=True))

    def _parts(self, table: csr_matrix) -> list[float]:
        """1 - mean disagreement of each row over that expected, which is the same for all."""
        whole = np.asarray(self._by_prompt.sum(0)).reshape(self._size, self._size)
        apart, total = _distances(whole.sum(1)), whole.sum()
        expected = float(np.einsum("c,k,ck->", whole.sum(1), whole.sum(1), apart)) / (total * (total - 1))
        seen = np.asarray(table @ apart.reshape(-1)) / np.maximum(
            np.asarray(table.sum(1)).reshape(-1), 1e-300
        )
        return [float(1 - each / expected) for each in seen]


def _distances(totals: Floats) -> Floats:
    """Squared ordinal distances [levels, levels]: the values between two, with half of those at the ends."""
    middle = np.cumsum(totals) - totals / 2
    found: Floats = (middle[:, None] - middle[None, :]) ** 2
    return found


def _alpha(table: Floats) -> float:
    """Alpha of a coincidence matrix; nan where it holds one value alone."""
    totals, whole = table.sum(1), table.sum()
    apart = _distances(totals)
    expected = float((np.outer(totals, totals) * apart).sum())
    return float("nan") if expected == 0 else 1 - (whole - 1) * float((table * apart).sum()) / expected
