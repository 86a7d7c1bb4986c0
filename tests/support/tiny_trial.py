"""A whole trial of a tiny model on made-up examples, for tests of what happens around a training."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.tiny_models import byte_tokenizer, tiny_llama

from metrics.config import RewardConfig
from pools.types import Example, MemoryExamples, Pool, Prompt, Response
from trainers.config.trainer import CheckpointConfig, EvaluationConfig, ModelConfig, TrainerConfig
from trainers.spec import TrialJob, TrialSetup
from trainers.workers.local import LocalContext

TIMED = ("seconds", "train_seconds", "tokens_per_second", "peak_memory_gib", "policy")
WORDS = ("red", "green", "blue", "seven", "maple", "river", "stone", "cloud")


def judge_length(prompt: Prompt, response: str) -> float:
    """Any fixed function of the answer will do."""
    return len(set(response)) / (len(set(response)) + 5)


def judge_vowels(prompt: Prompt, response: str) -> float:
    """Falls while the policy learns to write words, so that an early checkpoint is the best."""
    return 1 - sum(letter in "aeiou" for letter in response) / (len(response) + 1)


def judge_badly(prompt: Prompt, response: str) -> float:
    return math.nan


def judge_never(prompt: Prompt, response: str) -> float:
    time.sleep(3600)
    return 0.0


def pool() -> Pool:
    def example(number: int) -> Example:
        word = WORDS[number % len(WORDS)]
        texts = (word * 2, f"{word} {number}", f"no {word}")
        responses = tuple(Response(text, score=float(i)) for i, text in enumerate(texts))
        return Example(Prompt(f"{word} or {number}?"), responses)

    examples = [example(number) for number in range(18)]
    return Pool("made-up", MemoryExamples(examples[:12]), tuple(examples[12:]))


def save_model(folder: Path, **changes: Any) -> Path:
    tiny_llama(vocab_size=300, max_position_embeddings=256, **changes).save_pretrained(folder)
    byte_tokenizer(chat=True).save_pretrained(folder)
    return folder


def setup(
    model: Path,
    *,
    reward: str = "judge_length",
    every: int = 2,
    evaluate: int = 0,
    policies: str | None = None,
    **trainer: Any,
) -> TrialSetup:
    fixed = {"algorithm": {"name": "pro"}, "steps": 7, "batch_prompts": 4, "learning_rate": 5e-3}
    fixed |= {"dtype": "fp32", "zero_stage": 1, "micro_batch_tokens": 128}
    dev = [Prompt(f"dev {word}?") for word in WORDS[:3]]
    return TrialSetup(
        model=ModelConfig(name=str(model), max_prompt_tokens=32, max_response_tokens=16),
        trainer=TrainerConfig.model_validate({**fixed, **trainer}),
        evaluation=EvaluationConfig(
            max_new_tokens=4, dev_prompts=len(dev) if evaluate else 0, every=evaluate
        ),
        reward=RewardConfig(kind="verifier", function=f"support.tiny_trial:{reward}"),
        checkpoints=CheckpointConfig(every=every),
        policies=policies,
        dev_prompts=dev if evaluate else (),
        dev_reward=RewardConfig(kind="verifier", function="support.tiny_trial:judge_vowels")
        if evaluate
        else None,
    )


def job(given: TrialSetup, seeds: tuple[int, ...] = (0, 1), **more: Any) -> TrialJob:
    orders = {seed: [(seed + 5 * i) % 12 for i in range(9)] for seed in seeds}
    return TrialJob(setup=given, responses=3, orders=orders, **more)


def untimed(value: Any) -> Any:
    """A result without what a clock or a memory gauge said."""
    if isinstance(value, dict):
        return {name: untimed(part) for name, part in value.items() if not name.startswith(TIMED)}
    return [untimed(part) for part in value] if isinstance(value, list) else value


class KilledError(BaseException):
    """Stands for SIGKILL: nothing that the trial does may catch it."""


@dataclass
class MortalContext(LocalContext):
    """A worker that is killed when it reports its `lives`-th logged step."""

    lives: int = 0

    def progress(self, update: Any) -> None:
        super().progress(update)
        if self.lives and sum("step" in row for row in self.updates) == self.lives:
            raise KilledError
