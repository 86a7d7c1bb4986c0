"""Labels of two kinds: people's (a response's `score`) and a judge's (its `judge_score`).

People are dear and a judge is cheap, so a trial may take people's labels where the judge is least sure, and
the judge's elsewhere. Either kind says which of a prompt's responses is above which and nothing of by how
much, so that the scales of the two do not matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from math import floor
from statistics import NormalDist, fmean

from pools.raters import RaterLabels
from pools.response_choice import judge_scores
from pools.types import Example

ORDER = RaterLabels(1, 0.0)
"""The order of the scores themselves, as shares of the other responses that each is held above."""


def two_kinds(
    examples: Sequence[Example], human_share: float, people: RaterLabels, seed: int
) -> list[Example]:
    """The examples, `human_share` of them (rounded down) with the labels of `people`, the others the judge's.

    People get those where the judge is least sure; ties keep the order of the examples. Nothing but the
    judge's scores of these very responses decides. PoolError where a response lacks one.
    """
    count = floor(human_share * len(examples) + 1e-9)
    if count == len(examples):
        return [people.of(example, seed) for example in examples]
    sure = _sureness(examples)
    asked = set(sorted(range(len(examples)), key=sure.__getitem__)[:count])
    return [
        people.of(example, seed) if index in asked else judged(example, seed)
        for index, example in enumerate(examples)
    ]


def judged(example: Example, seed: int) -> Example:
    """The example with the judge's labels; a judge compares all responses, whatever people compared."""
    judge = judge_scores(example)
    own = [replace(one, score=score) for one, score in zip(example.responses, judge, strict=True)]
    return ORDER.of(Example(example.prompt, tuple(own)), seed)


def _sureness(examples: Sequence[Example]) -> list[float]:
    """How sure the judge is of each example, in the mean over its pairs of responses.

    Where all scores have standard errors: the probability that a pair is in its true order, if errors are
    normal and independent; else the margin.
    """
    errors = [response.judge_score_se for example in examples for response in example.responses]
    known = all(error is not None and error > 0 for error in errors)
    return [_mean_sureness(example, known) for example in examples]


def _mean_sureness(example: Example, errors_known: bool) -> float:
    scores = judge_scores(example)
    found = []
    for a, b in combinations(range(len(scores)), 2):
        margin = abs(scores[a] - scores[b])
        if errors_known:
            both = (example.responses[a].judge_score_se, example.responses[b].judge_score_se)
            margin = NormalDist().cdf(margin / sum((error or 0) ** 2 for error in both) ** 0.5)
        found.append(margin)
    return fmean(found) if found else 0.0
