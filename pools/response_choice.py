"""Which of a prompt's responses are labelled: at random, those that stand for all, or by a judge's margins.

Every choice is an order of all responses, of which the first k are labelled, so that k are among k + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from base.errors import PoolError
from pools.types import Example, Examples

ResponseChoice: TypeAlias = Literal["random", "spread", "close", "far"]
CHOICES: tuple[ResponseChoice, ...] = get_args(ResponseChoice)
BY_JUDGE: tuple[ResponseChoice, ...] = ("close", "far")
"""Choices that go by what a judge makes of the responses before people see them."""

_GRAM = 5  # characters: about a word, in any language
_MIXER = np.uint64(0x9E3779B97F4A7C15)


def in_order(example: Example, choice: ResponseChoice, shuffled: Sequence[int]) -> list[int]:
    """Indices of the responses in the order in which they are labelled; ties as they are `shuffled`.

    `random` leaves them so. `spread` takes the response that most raises how well each response is
    represented by the most similar one taken (greedy facility location, Nemhauser et al. 1978; responses that
    are diverse and representative, as in arXiv 2405.13541). `close` begins with the two whose judge's scores
    lie closest and adds those that stay close to all taken; `far` begins with the two that lie furthest apart
    and adds those that keep the largest distance. PoolError where a response lacks the judge's score.
    """
    if choice == "random" or len(shuffled) < 2:
        return list(shuffled)
    if choice == "spread":
        vectors = text_vectors([example.responses[index].text for index in shuffled])
        return [shuffled[place] for place in _representative(vectors @ vectors.T)]
    return _by_margin(list(map(judge_score, [example] * len(shuffled), shuffled)), shuffled, choice == "far")


def judge_score(example: Example, index: int) -> float:
    """What a judge makes of the response with this index; PoolError where the pool does not say."""
    score = example.responses[index].judge_score
    if score is None:
        raise PoolError(
            f"response {index + 1} of the prompt {example.prompt.text[:60]!r} has no judge_score, beside the "
            "score of its labels: every response needs one (`apportion pool judge --beside` writes them)"
        )
    return score


def judge_scores(example: Example) -> list[float]:
    """`judge_score` of every response."""
    return [judge_score(example, index) for index in range(len(example.responses))]


def judge_agreement(examples: Examples) -> float:
    """The share of pairs, unequal to both, that a judge's scores order as the pool's scores do.

    PoolError where a response lacks a judge's score, or no pair is left.
    """
    same = pairs = 0
    for example in examples:
        scores = judge_scores(example)
        for a, b in combinations(range(len(scores)), 2):
            lead = (scores[a] - scores[b]) * (example.responses[a].score - example.responses[b].score)
            same, pairs = same + (lead > 0), pairs + (lead != 0)
    if not pairs:
        raise PoolError("no two responses of a prompt differ both in score and in judge_score")
    return same / pairs


def check_proxy(examples: Examples, choice: ResponseChoice) -> float:
    """`judge_agreement`, where the judge's scores can stand for labels not bought yet: PoolError where they
    are the labels themselves, in every order."""
    share = judge_agreement(examples)
    if share == 1:
        raise PoolError(
            f'responses are to be chosen by "{choice}", but judge_score orders every pair of the pool as its '
            "scores do: chosen by the labels themselves, a study says nothing of labels not bought yet"
        )
    return share


def text_vectors(texts: Sequence[str]) -> NDArray[np.float64]:
    """Vectors of length 1, shape [texts, n-grams]: which runs of five characters each text holds.

    Case and white space do not count. The product of two rows is the cosine of the texts' sets.
    """
    grams = [_grams(text) for text in texts]
    known, columns = np.unique(np.concatenate(grams), return_inverse=True)
    vectors = np.zeros((len(texts), len(known)))
    rows = np.repeat(np.arange(len(texts)), list(map(len, grams)))
    vectors[rows, columns] = 1
    unit: NDArray[np.float64] = vectors / np.sqrt(vectors.sum(axis=1, keepdims=True))
    return unit


def _grams(text: str) -> NDArray[np.uint64]:
    """The distinct runs of characters, each as a number; a shorter text is one run."""
    plain = " ".join(text.casefold().split())
    letters = np.frombuffer(plain.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    width = min(_GRAM, len(letters))
    codes = np.zeros(len(letters) - width + 1, np.uint64)
    for place in range(width):
        codes = (codes + letters[place : len(codes) + place]) * _MIXER
    found: NDArray[np.uint64] = np.unique(codes)
    return found


def _representative(similar: NDArray[Any]) -> list[int]:
    """Rows of a symmetric matrix in the greedy order of facility location; ties keep the earlier."""
    covered, taken = np.zeros(len(similar)), list[int]()
    worth = similar.round(9)  # so that equal texts tie on every machine
    while len(taken) < len(similar):
        gains = np.maximum(worth, covered).sum(axis=1)
        gains[taken] = -1
        taken.append(int(gains.round(9).argmax()))
        covered = np.maximum(covered, worth[taken[-1]])
    return taken


def _by_margin(scores: Sequence[float], shuffled: Sequence[int], far: bool) -> list[int]:
    """The indices, whose scores these are, so that the margins among the first are wide or narrow.

    Next comes the one whose narrowest margin to those taken is widest, or whose widest is narrowest.
    """
    value = dict(zip(shuffled, scores, strict=True))

    def margins(index: int) -> list[float]:
        return [abs(value[index] - value[other]) for other in taken]

    pairs = [(a, b) for a, b in combinations(shuffled, 2)]
    first = (max if far else min)(pairs, key=lambda pair: abs(value[pair[0]] - value[pair[1]]))
    taken = list(first)
    left = [index for index in shuffled if index not in first]
    while left:
        following = (
            max(left, key=lambda index: min(margins(index)))
            if far
            else min(left, key=lambda index: max(margins(index)))
        )
        left.remove(following)
        taken.append(following)
    return taken
