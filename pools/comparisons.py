"""Scores from comparisons: who beat whom, and how strong that makes each response of one prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pools.bradley_terry import most_probable
from pools.types import Compared

PRIOR_VARIANCE = 100.0  # so weak that it bounds strengths without turning an order that was labelled round


class Comparison(NamedTuple):
    """Two responses by their indices, and the share of the first: 1 where it is better, 0.5 for a tie."""

    first: int
    second: int
    share: float


def strengths(count: int, comparisons: Sequence[Comparison]) -> list[float]:
    """Scores of `count` responses by Bradley and Terry's model (1952), in units of a single comparison.

    Most probable strengths s, where P(a beats b) = sigmoid(s_a - s_b) and a tie is half a win for each, with
    a normal prior that keeps what never lost finite. Two responses that were compared once get 1 and 0; those
    that no chain of comparisons connects are fitted apart.
    """
    fitted = _most_probable(count, comparisons)
    return [float(score) + 0.0 for score in (fitted / _UNIT + 0.5).round(6)]


def _most_probable(count: int, comparisons: Sequence[Comparison]) -> NDArray[np.float64]:
    wins = np.zeros((count, count))
    for first, second, share in comparisons:
        wins[first, second] += share
        wins[second, first] += 1 - share
    return most_probable(wins, prior_variance=PRIOR_VARIANCE)


_UNIT = float(np.ptp(_most_probable(2, [Comparison(0, 1, 1.0)])))


def decided(scores: Sequence[float], comparisons: Sequence[Comparison]) -> Compared | None:
    """The pairs (better, worse) that were compared and won by most; None where that is every unequal pair.

    A pair whose own verdicts the others of its prompt outweigh is left out.
    """
    balance: dict[tuple[int, int], float] = {}
    for first, second, share in comparisons:
        pair, lead = ((first, second), share - 0.5) if first < second else ((second, first), 0.5 - share)
        balance[pair] = balance.get(pair, 0.0) + lead
    won = {pair if lead > 0 else pair[::-1] for pair, lead in balance.items() if lead}
    kept = {(better, worse) for better, worse in won if scores[better] > scores[worse]}
    unequal = {(a, b) for a, one in enumerate(scores) for b, two in enumerate(scores) if one > two}
    return None if kept == unequal else tuple(sorted(kept))
