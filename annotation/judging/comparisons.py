"""From comparisons of two responses at a time to scores, and to how the judge leans."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pools.bradley_terry import curvature, most_probable

PRIOR_SPREAD = 2.0  # standard deviation of a response's strength before any comparison (logits)
_WEIGHT = 0.5  # of a verdict, of which a pair has two


@dataclass(frozen=True)
class Comparison:
    """One verdict: the responses' indices, the first as it was shown, and "A" (the first), "B" or "tie"."""

    first: int
    second: int
    verdict: str

    @property
    def winner(self) -> int | None:
        """The index of the better one; None for a tie."""
        return {"A": self.first, "B": self.second}.get(self.verdict)


def opponents(responses: int, each: int, rng: np.random.Generator) -> Iterator[tuple[int, int]]:
    """Pairs of indices in which everyone meets about `each` others (0: all), and nobody is left aside.

    The indices stand in a circle in an order that `rng` decides; those 1, 2, ... steps apart are compared.
    """
    circle = rng.permutation(responses)
    reach = responses // 2 if not each else min((each + 1) // 2, responses // 2)
    seen: set[tuple[int, int]] = set()
    for step in range(1, reach + 1):
        for index in range(responses):
            one, other = sorted((int(circle[index]), int(circle[(index + step) % responses])))
            if one != other and (one, other) not in seen:
                seen.add((one, other))
                yield one, other


def strengths(
    responses: int, comparisons: Sequence[Comparison]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score and standard error of each response by the Bradley-Terry model (Bradley and Terry 1952).

    It is the Plackett-Luce model of rankings of two (Plackett 1975), and no judge is asked to rank more.
    The score is the probability of being preferred to the prompt's average response. Each verdict counts
    half, since a pair is asked about twice and the two answers are not independent; a tie is half a win for
    either side, and so is a flip, as it names each side once. A normal prior with mean 0 and a standard
    deviation of `PRIOR_SPREAD` keeps a response that wins all finite. Errors are those of the posterior's
    normal approximation, from the inverse of its curvature, by the delta method.
    """
    wins = _wins(responses, comparisons)
    values = most_probable(wins, prior_variance=PRIOR_SPREAD**2)
    inverse = np.linalg.inv(curvature(wins, values, prior_variance=PRIOR_SPREAD**2))
    centre = np.eye(responses) - 1 / responses
    spread = np.sqrt(np.diag(centre @ inverse @ centre))
    scores = expit(values - values.mean())
    return scores, scores * (1 - scores) * spread


def _wins(responses: int, comparisons: Sequence[Comparison]) -> NDArray[np.float64]:
    wins = np.zeros((responses, responses))
    for each in comparisons:
        share = {"A": 1.0, "B": 0.0}.get(each.verdict, 0.5)
        wins[each.first, each.second] += _WEIGHT * share
        wins[each.second, each.first] += _WEIGHT * (1 - share)
    return wins


@dataclass
class Leaning:
    """How verdicts fall, counted over many prompts.

    `pairs` were asked about in both orders with a verdict each; `flips` of them name the response shown first
    both times, or the second both times. `decided` verdicts name one, `first` of them the one shown first;
    `unequal` of them compare texts of different length, of which `longer` name the longer one.
    """

    pairs: int = 0
    flips: int = 0
    ties: int = 0
    decided: int = 0
    first: int = 0
    unequal: int = 0
    longer: int = 0

    def add(self, texts: Sequence[str], comparisons: Sequence[Comparison]) -> None:
        """Count the comparisons of one prompt's responses."""
        by_pair: dict[tuple[int, int], list[str]] = defaultdict(list)
        for each in comparisons:
            by_pair[min(each.first, each.second), max(each.first, each.second)].append(each.verdict)
            self._count(texts, each)
        both = [verdicts for verdicts in by_pair.values() if len(verdicts) == 2]
        self.pairs += len(both)
        self.flips += sum(verdicts in (["A", "A"], ["B", "B"]) for verdicts in both)

    def _count(self, texts: Sequence[str], comparison: Comparison) -> None:
        if comparison.winner is None:
            self.ties += 1
            return
        self.decided += 1
        self.first += comparison.verdict == "A"
        lengths = len(texts[comparison.first]), len(texts[comparison.second])
        if lengths[0] != lengths[1]:
            self.unequal += 1
            self.longer += (comparison.verdict == "A") == (lengths[0] > lengths[1])

    def figures(self) -> dict[str, float | None]:
        """Shares of what they are shares of; None where there is nothing to share."""
        return {
            "flip_rate": _share(self.flips, self.pairs),
            "first_wins": _share(self.first, self.decided),
            "longer_wins": _share(self.longer, self.unequal),
            "ties": _share(self.ties, self.ties + self.decided),
        }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
