"""Language models as judges: strict reading, both orders, and the biases that were planted are found."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.stub_server import Stub, serving

from annotation.config import JudgeConfig, ModelSource
from annotation.endpoint import Endpoint
from annotation.journal import Journal
from annotation.judging.comparisons import Comparison, Leaning, opponents, strengths
from annotation.judging.judge import Asked
from annotation.judging.llm import PairwiseJudge, PointwiseJudge
from annotation.judging.verdicts import PAIRWISE, POINTWISE
from pools.types import Prompt

_PAIR = re.compile(r"\[Response A\]\n(.*?)\n\n\[Response B\]\n(.*)", re.DOTALL)


def shown(body: dict[str, Any]) -> tuple[str, str]:
    found = _PAIR.search(body["messages"][-1]["content"])
    assert found is not None
    return found[1], found[2]


def quality(text: str) -> int:
    return int(text.split()[0])


def honest(body: dict[str, Any]) -> str:
    first, second = shown(body)
    return json.dumps({"better": "A" if quality(first) > quality(second) else "B"})


def leaning_judge(share: float, rule: Callable[[str, str], str]) -> Callable[[dict[str, Any]], str]:
    """Goes by `rule` in this share of the questions, by a digest of the whole question, else is honest."""

    def answer(body: dict[str, Any]) -> str:
        first, second = shown(body)
        digest = hashlib.sha256(repr((first, second)).encode()).digest()
        if int.from_bytes(digest[:4], "big") / 2**32 < share:
            return json.dumps({"better": rule(first, second)})
        return honest(body)

    return answer


def asked(prompts: int, responses: int) -> list[Asked]:
    rng = np.random.default_rng(0)
    return [
        Asked(
            Prompt(f"prompt {row}"),
            tuple(f"{q} {row} {'x' * int(rng.integers(1, 400))}" for q in rng.permutation(responses)),
        )
        for row in range(prompts)
    ]


def judge(kind: Any, url: str, journal: Journal, **fields: Any) -> Any:
    source = ModelSource(name="judge", endpoint=url, concurrency=8)
    config = JudgeConfig(kind="pointwise" if kind is PointwiseJudge else "pairwise", model=source, **fields)
    return kind(config, Endpoint(source, sleep=lambda seconds: None), journal)


def test_an_honest_judge_orders_all_and_leans_nowhere(journal: Journal) -> None:
    examples = asked(6, 5)
    with serving(Stub(honest)) as stub:
        made = judge(PairwiseJudge, stub.url, journal)
        scores = made.judge(examples)
    for each, row in zip(examples, scores, strict=True):
        assert np.argsort(row.values).tolist() == np.argsort([quality(t) for t in each.responses]).tolist()
        assert all(0 < value < 1 for value in row.values) and all(0 < error < 0.3 for error in row.errors)
    figures = made.account().figures
    assert (figures["flip_rate"], figures["first_wins"], figures["verdicts"]) == (0.0, 0.5, 6 * 20)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_planted_position_bias_is_reported_within_two_points(journal: Journal, share: float) -> None:
    """Who takes the first in `share` of the questions and is right else, names the first in 1/2 + share/2."""
    with serving(Stub(leaning_judge(share, lambda first, second: "A"))) as stub:
        made = judge(PairwiseJudge, stub.url, journal)
        made.judge(asked(30, 8))
    figures = made.account().figures
    assert figures["first_wins"] == pytest.approx(0.5 + share / 2, abs=0.02)
    # A pair flips where the question that shows the worse one first goes by position.
    assert figures["flip_rate"] == pytest.approx(share, abs=0.03)


@pytest.mark.slow
def test_a_planted_length_bias_is_reported_within_two_points(journal: Journal) -> None:
    """Lengths have nothing to do with quality, so an honest verdict names the longer one half the time."""
    examples = asked(30, 8)

    def longer(first: str, second: str) -> str:
        return "A" if len(first) > len(second) else "B"

    with serving(Stub(leaning_judge(0.4, longer))) as stub:
        made = judge(PairwiseJudge, stub.url, journal)
        made.judge(examples)
    pairs = [(a, b) for each in examples for a in each.responses for b in each.responses if len(a) > len(b)]
    honest_share = np.mean([quality(a) > quality(b) for a, b in pairs])
    assert made.account().figures["longer_wins"] == pytest.approx(0.4 + 0.6 * honest_share, abs=0.02)


def test_a_flip_is_a_tie(journal: Journal) -> None:
    with serving(Stub(lambda body: '{"better": "A"}')) as stub:
        made = judge(PairwiseJudge, stub.url, journal)
        (row,) = made.judge(asked(1, 2))
    assert row.values == pytest.approx((0.5, 0.5))
    assert made.account().figures["flip_rate"] == 1.0
    assert any("100.0% of 1 pairs flipped" in line for line in made.account().lines)


@pytest.mark.parametrize(
    "text",
    ["", "8", "A", '{"score": "8"}', '{"score": 11}', '{"score": 0}', '{"score": 7.5}', '{"score": true}',
     '{"score": 8, "why": "x"}', 'Sure: {"score": 8}', '{"better": "C"}', "[]", '{"score": 8} {"score": 9}'],
)  # fmt: skip
def test_only_the_verdict_itself_is_read(text: str) -> None:
    assert POINTWISE.verdict(text) is None and PAIRWISE.verdict(text) is None


def test_verdicts_are_read() -> None:
    assert POINTWISE.verdict(' {"score": 8}\n') == 8
    assert PAIRWISE.verdict('{"better": "tie"}') == "tie"


def test_an_unparsable_verdict_is_asked_for_once_more(journal: Journal) -> None:
    def answer(body: dict[str, Any]) -> str:
        text = body["messages"][-1]["content"]
        if "[Response]\n0 " in text:
            return "I cannot say."
        if "[Response]\n1 " in text and body["seed"] == 0:
            return '{"score": "one"}'
        return json.dumps({"score": 1 + quality(text.split("[Response]\n")[1])})

    examples = asked(2, 4)
    with serving(Stub(answer)) as stub:
        made = judge(PointwiseJudge, stub.url, journal)
        scores = made.judge(examples)
        assert len(stub.requests) == 8 + 4
        assert [body["temperature"] for body in stub.requests] == [0] * 8 + [0.5] * 4
        for each, row in zip(examples, scores, strict=True):
            expected = [None if quality(t) == 0 else pytest.approx(quality(t) / 9) for t in each.responses]
            assert list(row.values) == expected
        assert made.account().figures.items() >= {"unparsable": 4, "given_up": 2, "verdicts": 8}.items()
        assert made.judge(examples) == scores
        assert len(stub.requests) == 12, "verdicts were paid for twice"


def test_what_stays_unanswered_has_no_score(journal: Journal) -> None:
    with serving(Stub(lambda body: '{"score": 5}', ["400"])) as stub:
        made = judge(PointwiseJudge, stub.url, journal)
        (row,) = made.judge(asked(1, 3))
    assert sum(value is None for value in row.values) == 1
    assert made.account().figures["unanswered"] == 1


@pytest.mark.parametrize(("responses", "each"), [(2, 0), (5, 0), (8, 3), (8, 2), (9, 4), (2, 1), (1, 0)])
def test_opponents_leave_nobody_aside(responses: int, each: int) -> None:
    pairs = list(opponents(responses, each, np.random.default_rng(1)))
    assert len(set(pairs)) == len(pairs) and all(one < other for one, other in pairs)
    if not each:
        assert len(pairs) == responses * (responses - 1) // 2
    linked = {0}
    for _ in range(responses):
        linked |= {place for pair in pairs if linked & set(pair) for place in pair}
    assert linked == set(range(responses))


def test_strengths_and_errors_of_two() -> None:
    """A win in both orders: s solves sigmoid(-2s) = s / PRIOR**2; the curvature along it is known."""
    scores, errors = strengths(2, [Comparison(0, 1, "A"), Comparison(1, 0, "B")])
    s = np.log(scores[0] / (1 - scores[0]))
    assert 1 / (1 + np.exp(2 * s)) == pytest.approx(s / 4, abs=1e-4)
    p = 1 / (1 + np.exp(-2 * s))
    # Along (1, -1) / sqrt 2 the prior adds 1/4 and the comparison 2 p (1 - p); each response has half of it.
    spread = np.sqrt(1 / (1 / 4 + 2 * p * (1 - p)) / 2)
    assert errors[0] == pytest.approx(scores[0] * (1 - scores[0]) * spread, rel=1e-3)
    assert scores.sum() == pytest.approx(1)


def test_no_comparison_leaves_all_equal() -> None:
    scores, errors = strengths(3, [])
    assert scores.tolist() == [0.5] * 3 and (errors > 0.3).all()


def test_leaning_of_ties_and_equal_lengths() -> None:
    leaning = Leaning()
    leaning.add(["ab", "cd"], [Comparison(0, 1, "tie"), Comparison(1, 0, "A")])
    assert leaning.figures() == {"flip_rate": 0.0, "first_wins": 1.0, "longer_wins": None, "ties": 0.5}
