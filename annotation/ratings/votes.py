"""Judgements taken apart into comparisons of two responses, with the weights that such parts deserve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from annotation.ratings.intake import Judgement

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Votes:
    """Arrays [votes]: in prompt `prompt`, rater `rater` holds the response `better` above `worse`.

    A tie is two votes, one each way, of half the weight. `counts` is how many responses a prompt has.
    """

    prompt: Indices
    better: Indices
    worse: Indices
    rater: Indices
    weight: Floats
    counts: Indices
    raters: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.prompt)

    @property
    def width(self) -> int:
        """The most responses a prompt has."""
        return int(self.counts.max(initial=1))


def votes_of(judgements: Sequence[Judgement], prompts: Mapping[str, Sequence[str]]) -> Votes:
    """The votes in the judgements; `prompts` lists the `response_id`s of each prompt, and numbers both."""
    number = {prompt: index for index, prompt in enumerate(prompts)}
    indices = {prompt: {name: index for index, name in enumerate(own)} for prompt, own in prompts.items()}
    raters = tuple(sorted({each.rater for each in judgements}))
    who = {rater: index for index, rater in enumerate(raters)}
    rows = [
        (number[each.prompt], better, worse, who[each.rater], weight)
        for each in judgements
        for better, worse, weight in _pairs(each, indices[each.prompt])
    ]
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    prompt, better, worse, rater = table[:, :4].T.astype(np.int64)
    counts = np.array([len(own) for own in prompts.values()], dtype=np.int64)
    return Votes(prompt, better, worse, rater, table[:, 4], counts, raters)


def _pairs(judgement: Judgement, indices: Mapping[str, int]) -> Iterator[tuple[int, int, float]]:
    weight = pair_weight(len(judgement.values))
    for one, other in combinations(judgement.values, 2):
        lead = judgement.worth(one) - judgement.worth(other)
        a, b = indices[one], indices[other]
        if lead == 0:
            yield a, b, weight / 2
            yield b, a, weight / 2
        else:
            yield (a, b, weight) if lead > 0 else (b, a, weight)


def pair_weight(ranked: int) -> float:
    """What each of the k(k-1)/2 pairs of a ranking of k counts, since they were not judged one by one.

    With 4 (k - H_k) / (k (k - 1)), H_k the k-th harmonic number, the information on a response's strength
    is that of the Plackett-Luce model (Luce 1959, Plackett 1975) for equal strengths: its stage with m
    responses left, which is reached with probability m / k, adds (1/m)(1 - 1/m), a pair adds 1/4.
    Breaking a ranking into all its pairs is consistent for that model (Azari Soufiani et al. 2013).
    """
    if ranked < 2:
        return 0.0
    harmonic = sum(1 / m for m in range(1, ranked + 1))
    return 4 * (ranked - harmonic) / (ranked * (ranked - 1))
