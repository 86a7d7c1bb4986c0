"""What `Judge` promises, asked of every implementation."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.stub_server import Stub, serving

from annotation.config import JudgeConfig, ModelSource
from annotation.journal import Journal, opened_journal
from annotation.judging.judge import Asked, Judge, MemoryJudge
from annotation.judging.load import load_judge
from annotation.purse import Purse
from pools.demo.grammar import make_prompts
from pools.demo.requests import EXAMPLES
from pools.types import Message, Prompt

PROMPTS = make_prompts(EXAMPLES, train=3, held_out=0, seed=5)[0]
ASKED = [
    Asked(PROMPTS[0], ("yes", "no.", "- a\n- b")),
    Asked(PROMPTS[1], ("Ünïcödé 🙂",)),
    Asked(
        Prompt((Message("system", "Be kind."), Message("user", "Hi")), meta=PROMPTS[2].meta),
        ("a", "longer than a"),
    ),
]


def answer(body: dict[str, Any]) -> str:
    text = body["messages"][-1]["content"]
    if "[Response A]" in text:
        first, second = text.split("[Response A]\n")[1].split("\n\n[Response B]\n")
        return json.dumps({"better": "A" if len(first) > len(second) else "B"})
    return json.dumps({"score": min(10, 1 + len(text.split("[Response]\n")[1]))})


@pytest.fixture(params=["memory", "reward", "pointwise", "pairwise"])
def again(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Judge]]:
    """A function that makes the judge, each time anew on the same journal."""
    if request.param == "memory":
        yield lambda: MemoryJudge(lambda prompt, text: float(len(text)))
        return
    with serving(Stub(answer)) as stub, opened_journal(tmp_path / "j.jsonl") as journal:
        yield lambda: loaded(request.param, stub, journal)


def loaded(kind: str, stub: Stub, journal: Journal) -> Judge:
    model = ModelSource(name="judge", endpoint=stub.url if kind != "reward" else "")
    return load_judge(JudgeConfig.model_validate({"kind": kind, "model": model}), journal, Purse(), seed=0)


def test_a_finite_score_for_each_response(again: Callable[[], Judge]) -> None:
    scores = again().judge(ASKED)
    assert [len(row.values) for row in scores] == [3, 1, 2]
    assert all(value is not None and math.isfinite(value) for row in scores for value in row.values)
    assert all(len(row.errors) in (0, len(row.values)) for row in scores)


def test_nothing_gives_nothing(again: Callable[[], Judge]) -> None:
    assert again().judge([]) == []


def test_what_was_judged_is_judged_alike(again: Callable[[], Judge]) -> None:
    first = again().judge(ASKED)
    assert again().judge(ASKED) == first
    assert again().judge(ASKED[::-1]) == first[::-1]


def test_progress_comes_to_an_end(again: Callable[[], Judge]) -> None:
    seen: list[tuple[int, int]] = []
    again().judge(ASKED, lambda done, total: seen.append((done, total)))
    assert seen and all(0 <= done <= total for done, total in seen)


def test_who_judged_is_said(again: Callable[[], Judge]) -> None:
    judge = again()
    judge.judge(ASKED)
    assert judge.by and isinstance(judge.account().lines, list)
