"""Rewards that are a Python function: found by name, checked, and blamed precisely."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from support.memory_reward import MemoryReward

from base.errors import RewardError
from metrics.config import RewardConfig
from metrics.reward.base import checked_scores
from metrics.reward.verifier import VerifierReward, import_function
from pools.types import Prompt

PROMPTS = [Prompt("First"), Prompt("Second")]


@pytest.fixture
def judges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed module of verifiers, good and bad."""
    (tmp_path / "some_judges.py").write_text(
        "CONSTANT = 3\n"
        "def length(prompt, response): return min(1.0, len(response) / 10)\n"
        "def too_much(prompt, response): return 1.5\n"
        "def not_a_number(prompt, response): return float('nan')\n"
        "def words(prompt, response): return 'good'\n"
        "def picky(prompt, response):\n"
        "    if prompt.text == 'Second': raise KeyError('reference')\n"
        "    return 1\n"
    )
    (tmp_path / "broken_judges.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    return "some_judges"


def test_the_function_is_called_with_prompt_and_response(judges: str) -> None:
    assert VerifierReward(f"{judges}:length").score(PROMPTS, ["abcde", "a" * 20]) == [0.5, 1.0]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("too_much", "score 0 is 1.5"),
        ("not_a_number", "score 0 is nan"),
        ("words", "score 0 is 'good'"),
        ("picky", r"picky failed on prompt 1 \('Second'\): KeyError: 'reference'"),
    ],
)
def test_what_is_wrong_with_a_score_is_told(judges: str, function: str, message: str) -> None:
    with pytest.raises(RewardError, match=message):
        VerifierReward(f"{judges}:{function}").score(PROMPTS, ["a", "b"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_package.judge:score", "no module named 'no_such_package'"),
        ("some_judges:lenght", "has no 'lenght' .did you mean \"length\""),
        ("some_judges:CONSTANT", "is a int, not a function"),
        ("broken_judges:score", "importing 'broken_judges' failed: ZeroDivisionError"),
        ("some_judges", "not of the form module:function"),
        ("./some_judges.py:length", "not of the form module:function"),
        ("/tmp/judges.py:length", "not of the form module:function"),
        ("some_judges:length.__code__", "not of the form module:function"),
        ("", "not of the form module:function"),
    ],
)
@pytest.mark.usefixtures("judges")
def test_a_name_that_leads_nowhere_is_explained(name: str, message: str) -> None:
    with pytest.raises(RewardError, match=message):
        import_function(name)


@pytest.mark.parametrize("scores", [[0.5], [0.5, 0.5, 0.5]])
def test_the_count_of_scores_is_checked(scores: list[float]) -> None:
    with pytest.raises(RewardError, match=f"returned {len(scores)} scores for 2"):
        checked_scores(scores, expected=2)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan, -1e-9, 1.0000001, None, "x", [1.0]])
def test_the_first_bad_score_is_named(bad: Any) -> None:
    with pytest.raises(RewardError, match="score 1 is"):
        checked_scores([0.0, bad, bad], expected=3)


def test_the_twin_in_memory_keeps_what_it_judged() -> None:
    twin = MemoryReward({"good": 1.0}, otherwise=0.25)
    assert twin.score(PROMPTS, ["good", "other"]) == [1.0, 0.25]
    assert twin.judged == [(PROMPTS[0], "good"), (PROMPTS[1], "other")]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "hf"}, "reward.model is not set"),
        ({"kind": "judge"}, "verifier.*hf.*fitted"),
        ({"function": "../judge.py:score"}, "function"),
        ({"function": "judge"}, "function"),
        ({"max_response_tokens": 0}, "greater than or equal to 1"),
        ({"temperature": 1}, "temperature"),
    ],
)
def test_settings_that_cannot_work_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises((ValidationError, ValueError), match=message):
        RewardConfig(**fields)


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in RewardConfig.model_fields.values())


def test_torch_stays_out_until_a_model_is_loaded() -> None:
    code = "import sys, metrics.config, metrics.reward.registry; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
