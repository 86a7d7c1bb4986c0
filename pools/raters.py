"""The labels that r raters give to the responses that they are shown, in place of a pool's scores.

Where a pool holds what single raters said, the labels are those of r of its raters. Otherwise raters are
simulated: each sees every response's score with an error of its own and orders the responses by what it sees
(Thurstone 1927, "A law of comparative judgment", case V), so that scores that lie close are confused more
often than others. Both are nested: the raters of r = 1 are among those of r = 3.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import NormalDist, fmean
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from base.errors import PoolError
from pools.comparisons import Comparison, decided, strengths
from pools.subset import digest, ranking, shuffled, with_responses
from pools.types import Example, Examples

# Prompts that an agreement is spread over: more would not move it by a thousandth.
PROMPTS = 2_000
# By how much each of a pair of responses is held above the other: 1, 0 for a tie, -1; absent where unjudged.
Order: TypeAlias = Mapping[tuple[int, int], int]


@dataclass(frozen=True)
class RaterLabels:
    """What `raters` raters say of a prompt's responses.

    `error` is the standard deviation of a simulated rater's error, on the scale of the pool's scores; None
    where the pool's own ratings are used.
    """

    raters: int
    error: float | None = None

    def of(self, example: Example, seed: int) -> Example:
        """The example with the raters' scores in place of its own, best first, ties in the seeded order.

        A score is the mean share, over raters, of the other responses that one rater holds the response
        above, ties as halves (Borda's count). Where only some pairs were compared, raters compare those.
        Nothing but the raters' orders of these very responses enters, so r raters never say more than r can.
        """
        shown = with_responses(example, shuffled(example, seed))
        games = _games(self._orders(shown, seed), _pairs(shown))
        scores, compared = _shares(len(shown.responses), games), None
        if shown.compared is not None:
            scores = strengths(len(shown.responses), games)
            compared = decided(scores, games)
        best_first = sorted(range(len(scores)), key=lambda index: -scores[index])
        responses = tuple(
            replace(one, score=score) for one, score in zip(shown.responses, scores, strict=True)
        )
        return with_responses(Example(shown.prompt, responses, compared), best_first)

    def _orders(self, example: Example, seed: int) -> list[Order]:
        if self.error is None:
            said = said_by(example)
            drawn = sorted(said, key=lambda rater: digest(seed, f"{example.prompt.guard}:rater:{rater}"))
            return [said[rater] for rater in drawn[: self.raters]]
        return [_simulated(example, self.error, seed, rater) for rater in range(self.raters)]


def _simulated(example: Example, error: float, seed: int, rater: int) -> Order:
    """How one simulated rater orders the responses."""
    seen = [
        response.score + error * _normal(seed, f"{example.prompt.guard}:{rater}:{response.text}")
        for response in example.responses
    ]
    return {(a, b): _sign(seen[a] - seen[b]) for a in range(len(seen)) for b in range(len(seen)) if a != b}


def said_by(example: Example) -> dict[str, Order]:
    """How each of the pool's raters orders the responses, by name; those who compared none are left out."""
    worth: dict[str, dict[tuple[int, ...], dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for index, response in enumerate(example.responses):
        for rating in response.ratings:
            worth[rating.rater][rating.among][index] = rating.worth
    found: dict[str, Order] = {}
    for rater, judgements in worth.items():
        leads: dict[tuple[int, int], int] = defaultdict(int)
        for values in judgements.values():
            for a, b in combinations(values, 2):
                lead = _sign(values[a] - values[b])
                leads[a, b] += lead
                leads[b, a] -= lead
        if leads:
            found[rater] = {pair: _sign(lead) for pair, lead in leads.items()}
    return found


def fewest_raters(examples: Examples) -> int:
    """The fewest raters that any of the prompts has; 0 for a pool without ratings."""
    return min((len(said_by(example)) for example in examples), default=0)


def raters_each(example: Example) -> int:
    """The fewest raters that any one of the responses has; 0 where one was rated by nobody."""
    rated = ({rating.rater for rating in response.ratings} for response in example.responses)
    return min(map(len, rated), default=0)


def rater_error(examples: Examples, agreement: float) -> float:
    """The error at which one rater orders a share `agreement` of unequal pairs as the pool's scores do.

    In units of the scores; found by halving, over the pairs of at most 2,000 prompts, always the same ones.
    Raises PoolError where no prompt has unequal scores.
    """
    rows = np.sort(ranking(examples.keys(), seed=0)[:PROMPTS]).tolist()
    gaps = np.array([gap for example in examples.take(rows) for gap in _gaps(example)])
    if not len(gaps):
        raise PoolError("search.agreement is given, but no prompt has responses with unequal scores")
    if agreement == 1:
        return 0.0
    low, high = 0.0, float(gaps.max()) / (agreement - 0.5)
    for _ in range(60):
        middle = (low + high) / 2
        right = _share_right(gaps, middle)
        low, high = (middle, high) if right > agreement else (low, middle)
    return (low + high) / 2


def _share_right(gaps: NDArray[np.float64], error: float) -> float:
    """How often two responses, each seen with this error, are put in their order."""
    from scipy.special import ndtr

    return float(ndtr(gaps / (error * 2**0.5)).mean())


def _gaps(example: Example) -> list[float]:
    """Differences of score between the responses that may be compared; ties left out."""
    scores = [response.score for response in example.responses]
    return [scores[a] - scores[b] for a, b in unequal_pairs(example)]


def unequal_pairs(example: Example) -> list[tuple[int, int]]:
    """Indices (better, worse) of the responses that may be compared, by their scores; ties left out."""
    scores = [response.score for response in example.responses]
    found = [(a, b) for a, b in _pairs(example) if scores[a] != scores[b]]
    return [(a, b) if scores[a] > scores[b] else (b, a) for a, b in found]


def _pairs(example: Example) -> Iterable[tuple[int, int]]:
    """The pairs of responses that are, or may be, compared."""
    compared = example.compared
    return combinations(range(len(example.responses)), 2) if compared is None else compared


def _games(orders: Sequence[Order], pairs: Iterable[tuple[int, int]]) -> list[Comparison]:
    """What the raters together say of each pair that any of them judged."""
    leads = {pair: [order[pair] for order in orders if pair in order] for pair in pairs}
    return [Comparison(*pair, (1 + fmean(found)) / 2) for pair, found in leads.items() if found]


def _shares(count: int, games: Sequence[Comparison]) -> list[float]:
    """The mean share that each response wins of its comparisons; half where it had none."""
    won: list[list[float]] = [[] for _ in range(count)]
    for first, second, share in games:
        won[first].append(share)
        won[second].append(1 - share)
    return [round(fmean(each), 9) if each else 0.5 for each in won]  # so that ties stay ties


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _normal(seed: int, text: str) -> float:
    """A standard normal number that depends on nothing but seed and text."""
    drawn = int.from_bytes(digest(seed, text)[:6], "big")
    return NormalDist().inv_cdf((drawn + 0.5) / 2**48)
