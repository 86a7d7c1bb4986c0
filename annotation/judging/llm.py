"""A language model as judge: grades one response at a time, or compares two in both orders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from annotation.config import JudgeConfig
from annotation.endpoint import Endpoint
from annotation.journal import Journal
from annotation.judging.comparisons import Comparison, Leaning, opponents, strengths
from annotation.judging.judge import Account, Asked, Progress, Scores
from annotation.judging.verdicts import HIGHEST, LOWEST, PAIRWISE, POINTWISE, Bench, Question, Replies


class PointwiseJudge:
    """Grades from 1 to 10 by a rubric, one request a response; the score is the grade scaled to [0, 1]."""

    def __init__(self, config: JudgeConfig, endpoint: Endpoint, journal: Journal) -> None:
        self.by = f"{config.model.source}, 1 to 10 by a rubric"
        self._bench = Bench(POINTWISE, config, endpoint, journal)
        self._account = Account()

    def judge(self, asked: Sequence[Asked], progress: Progress = lambda done, total: None) -> list[Scores]:
        """See `Judge.judge`."""
        questions = [Question(each.prompt, (text,)) for each in asked for text in each.responses]
        grades = iter(self._bench.verdicts(questions, progress))
        scores = [Scores(tuple(_unit(next(grades)) for _ in each.responses)) for each in asked]
        self._account = _account(self._bench.replies, _leaning_of_scores(asked, scores))
        return scores

    @property
    def replies(self) -> Replies:
        """What became of the questions of the last judging."""
        return self._bench.replies

    def verdicts_on(self, responses: int) -> int:
        """How many verdicts the responses to one prompt take."""
        return responses

    def account(self) -> Account:
        """See `Judge.account`: the share of pairs in which the longer response has the higher grade."""
        return self._account


class PairwiseJudge:
    """Compares two responses at a time, each pair in both orders; scores by Bradley-Terry, with errors."""

    def __init__(self, config: JudgeConfig, endpoint: Endpoint, journal: Journal, *, seed: int = 0) -> None:
        self.by = f"{config.model.source}, comparing two in both orders"
        self._bench = Bench(PAIRWISE, config, endpoint, journal)
        self._opponents, self._seed = config.opponents, seed
        self._account = Account()

    def judge(self, asked: Sequence[Asked], progress: Progress = lambda done, total: None) -> list[Scores]:
        """See `Judge.judge`; a response whose comparisons all failed has no score, a single one has 0.5."""
        indices = [
            (row, *pair) for row, each in enumerate(asked) for pair in self._orders(len(each.responses))
        ]
        questions = [
            Question(asked[row].prompt, (asked[row].responses[first], asked[row].responses[second]))
            for row, first, second in indices
        ]
        found: dict[int, list[Comparison]] = defaultdict(list)
        verdicts = self._bench.verdicts(questions, progress)
        for (row, first, second), verdict in zip(indices, verdicts, strict=True):
            if verdict is not None:
                found[row].append(Comparison(first, second, verdict))
        leaning = Leaning()
        for row, each in enumerate(asked):
            leaning.add(each.responses, found[row])
        self._account = _account(self._bench.replies, leaning)
        return [_scores(len(each.responses), found[row]) for row, each in enumerate(asked)]

    @property
    def replies(self) -> Replies:
        """What became of the questions of the last judging."""
        return self._bench.replies

    def verdicts_on(self, responses: int) -> int:
        """How many verdicts the responses to one prompt take."""
        return len(self._orders(responses))

    def account(self) -> Account:
        """See `Judge.account`: flip rate, position bias, and the share of wins of the longer response."""
        return self._account

    def _orders(self, responses: int) -> list[tuple[int, int]]:
        rng = np.random.default_rng((self._seed, responses))
        pairs = opponents(responses, self._opponents, rng)
        return [order for one, other in pairs for order in ((one, other), (other, one))]


def _unit(grade: int | None) -> float | None:
    return None if grade is None else (grade - LOWEST) / (HIGHEST - LOWEST)


def _scores(responses: int, comparisons: Sequence[Comparison]) -> Scores:
    met = {0} if responses == 1 else {index for each in comparisons for index in (each.first, each.second)}
    values, errors = strengths(responses, comparisons)
    return Scores(
        tuple(float(value) if index in met else None for index, value in enumerate(values)),
        tuple(map(float, errors)),
    )


def _leaning_of_scores(asked: Sequence[Asked], scores: Sequence[Scores]) -> Leaning:
    """As if each two responses had been compared by their grades, once."""
    leaning = Leaning()
    for each, row in zip(asked, scores, strict=True):
        graded = [(index, value) for index, value in enumerate(row.values) if value is not None]
        verdicts = [
            Comparison(one, other, "tie" if a == b else "A" if a > b else "B")
            for (one, a), (other, b) in combinations(graded, 2)
        ]
        leaning.add(each.responses, verdicts)
    return leaning


def _account(replies: Replies, leaning: Leaning) -> Account:
    figures: dict[str, Any] = {"verdicts": replies.asked, "unparsable": replies.unparsable}
    figures |= {"given_up": replies.given_up, "unanswered": replies.unanswered}
    figures |= {"tokens_in": replies.tokens_in, "tokens_out": replies.tokens_out}
    figures |= {name: share for name, share in leaning.figures().items() if share is not None}
    if not leaning.pairs:  # grades are given without an order
        figures.pop("first_wins", None)
    lines = [
        f"{replies.asked:,} verdicts: {replies.unparsable:,} unparsable and asked for again, "
        f"{replies.given_up:,} given up, {replies.unanswered:,} unanswered"
        + (f" ({replies.reason})" if replies.unanswered else "")
    ]
    if leaning.pairs:
        lines.append(f"  {figures['flip_rate']:.1%} of {leaning.pairs:,} pairs flipped with the order: ties")
    if "first_wins" in figures:
        lines.append(
            f"  position: the response shown first won {figures['first_wins']:.1%} of {leaning.decided:,} "
            "decided verdicts (50% without a bias)"
        )
    if "longer_wins" in figures:
        lines.append(
            f"  length: the longer response won {figures['longer_wins']:.1%} of {leaning.unequal:,} decided "
            "comparisons of unequal length"
        )
    return Account(figures, lines)
