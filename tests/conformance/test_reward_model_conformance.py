"""What `RewardModel` promises, asked of every implementation."""

import math
import random
from pathlib import Path

import pytest
from support.memory_reward import MemoryReward
from support.tiny_rewards import (
    choose_tuned,
    examples_rewarding,
    save_base_model,
    save_decoder_reward,
    save_encoder_reward,
)

from base.errors import RewardError
from metrics.config import RewardConfig
from metrics.reward.base import RewardModel
from metrics.reward.fitted import fit_reward_model, fit_sample
from metrics.reward.registry import load_reward_model
from pools.demo.grammar import make_prompts
from pools.demo.requests import EXAMPLES
from pools.types import Message, Prompt

PROMPTS = make_prompts(EXAMPLES, train=12, held_out=0, seed=5)[0]
RESPONSES = [
    "yes",
    "",
    "A long answer. " * 30,
    "Ünïcödé 🙂 漢字",
    "- a\n- b",
    " ",
    "no.",
    "NO",
    "x" * 200,
    "why?",
    "1",
    "\n",
]


@pytest.fixture(
    scope="module", params=["memory", "verifier", "hf decoder", "hf plain", "hf encoder", "fitted", "tuned"]
)
def reward(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RewardModel:
    folder = tmp_path_factory.mktemp("reward")
    if request.param == "memory":
        return MemoryReward({"yes": 1.0, "no.": 0.0})
    if request.param == "verifier":
        return load_reward_model(RewardConfig(), artifact=None, base_model="", device="cpu")
    if request.param in ("fitted", "tuned"):
        return fitted(folder, tuned=request.param == "tuned")
    save = {"hf decoder": save_decoder_reward, "hf encoder": save_encoder_reward}.get(request.param)
    path = save(folder) if save else save_decoder_reward(folder, chat=False)
    config = RewardConfig(kind="hf", model=str(path), batch_tokens=400)
    return load_reward_model(config, artifact=None, base_model="", device="cpu")


def fitted(folder: Path, *, tuned: bool) -> RewardModel:
    base, artifact = str(save_base_model(folder / "base", layers=5)), folder / "head"
    config = RewardConfig(
        kind="fitted", fit_folds=2, fit_head="best" if tuned else "frozen", batch_tokens=400, force=True
    )
    sample = fit_sample(examples_rewarding("a", prompts=12), config, seed=0)
    if tuned:
        choose_tuned(sample, artifact, config)
    report = fit_reward_model(sample, base_model=base, directory=artifact, config=config, device="cpu")
    assert report.head == ("tuned" if tuned else "frozen")
    return load_reward_model(config, artifact=artifact, base_model=base, device="cpu")


def test_one_finite_float_in_the_unit_interval_each(reward: RewardModel) -> None:
    scores = reward.score(PROMPTS, RESPONSES)
    assert len(scores) == len(PROMPTS)
    assert all(type(score) is float and math.isfinite(score) and 0.0 <= score <= 1.0 for score in scores)


def test_answers_are_told_apart(reward: RewardModel) -> None:
    assert len(set(reward.score(PROMPTS, RESPONSES))) > 1


def test_nothing_gives_nothing(reward: RewardModel) -> None:
    assert reward.score([], []) == []


def test_same_input_same_scores(reward: RewardModel) -> None:
    assert reward.score(PROMPTS, RESPONSES) == reward.score(PROMPTS, RESPONSES)


def test_a_score_depends_on_its_own_pair_alone(reward: RewardModel) -> None:
    together = reward.score(PROMPTS, RESPONSES)
    alone = [reward.score([prompt], [text])[0] for prompt, text in zip(PROMPTS, RESPONSES, strict=True)]
    assert together == pytest.approx(alone, abs=1e-4)


def test_scores_come_in_the_order_of_the_pairs(reward: RewardModel) -> None:
    order = random.Random(0).sample(range(len(PROMPTS)), len(PROMPTS))
    shuffled = reward.score([PROMPTS[i] for i in order], [RESPONSES[i] for i in order])
    straight = reward.score(PROMPTS, RESPONSES)
    assert shuffled == pytest.approx([straight[i] for i in order], abs=1e-4)


def test_a_dialogue_is_a_prompt_too(reward: RewardModel) -> None:
    turns = (
        Message("system", "Be kind."),
        Message("user", "Hi"),
        Message("assistant", "Hello"),
        Message("user", "Bye"),
    )
    dialogue = Prompt(turns, meta={"constraints": [{"kind": "lower"}]})
    (score,) = reward.score([dialogue], ["bye now"])
    assert 0.0 <= score <= 1.0


@pytest.mark.parametrize("responses", [[], ["one"], ["one", "two", "three"]])
def test_unequal_lengths_are_refused(reward: RewardModel, responses: list[str]) -> None:
    with pytest.raises(RewardError, match=f"2 prompts.*{len(responses)} responses"):
        reward.score(PROMPTS[:2], responses)
