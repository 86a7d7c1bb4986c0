"""Where an answer that is judged ends, and which reward models judge it."""

from collections.abc import Sequence
from typing import Any

import pytest
from support.memory_reward import MemoryReward
from support.tiny_models import byte_tokenizer, tiny_llama

from metrics.reward.verifier import VerifierReward
from pools.types import Prompt
from trainers.config.trainer import EvaluationConfig, ModelConfig
from trainers.generation.generate import generate
from trainers.models import end_tokens
from trainers.prompt_format import tokenize_prompts
from trainers.trial.evaluate import judge
from trainers.workers.local import LocalContext


def answer_of(model: object) -> str:
    judged = judge(
        model,
        byte_tokenizer(),
        [Prompt("Say something.")],
        VerifierReward("support.tiny_trial:judge_length"),
        model_config=ModelConfig(name="tiny", prompt_format="plain"),
        config=EvaluationConfig(max_new_tokens=24),
        context=LocalContext(),
        sharded=False,
    )
    return judged.answers[0]


class MemoryEngine:
    """The in-memory `AnswerEngine`: `words` to every prompt, and what it was asked."""

    def __init__(self, words: str) -> None:
        self.words, self.asked = words, list[dict[str, Any]]()

    def answer(self, model: Any, prompt_ids: Sequence[Sequence[int]], **asked: Any) -> list[list[int]]:
        self.asked.append({"model": model, "prompt_ids": prompt_ids, **asked})
        return [byte_tokenizer().encode(self.words) for _ in prompt_ids]


def judged_by(engine: MemoryEngine | None, **where: Any) -> list[str]:
    judged = judge(
        where.pop("model", None),
        byte_tokenizer(),
        PROMPTS,
        MemoryReward(),
        model_config=ModelConfig(name="tiny", prompt_format="plain"),
        config=EvaluationConfig(max_new_tokens=6, stop=("b",)),
        context=LocalContext(),
        engine=engine,
        **{"sharded": False, **where},
    )
    return list(judged.answers)


PROMPTS = [Prompt("Say something."), Prompt("Say more.")]


def test_an_engine_answers_in_place_of_our_own_generation() -> None:
    model, engine = tiny_llama(vocab_size=300), MemoryEngine(" a word bare")
    assert judged_by(engine, model=model) == ["a word", "a word"]
    ids = tokenize_prompts(PROMPTS, byte_tokenizer(), style="plain", max_tokens=512)
    asked = {"model": model, "prompt_ids": ids, "max_new_tokens": 6, "eos_ids": [2], "stop": ("b",)}
    assert engine.asked == [asked]
    own = generate(model, ids, max_new_tokens=6, eos_ids=[2], pad_id=0)
    texts = byte_tokenizer().batch_decode(own, skip_special_tokens=True)
    assert judged_by(None, model=model) == [text.partition("b")[0].strip() for text in texts]


def test_an_engine_takes_no_sharded_weights() -> None:
    with pytest.raises(AssertionError, match="no worker holds the whole weights"):
        judged_by(MemoryEngine("a"), sharded=True)


def test_further_models_judge_the_same_answers() -> None:
    model, first, second = tiny_llama(vocab_size=300), MemoryReward(otherwise=0.25), MemoryReward()
    prompts = [Prompt("Say something."), Prompt("Say more.")]
    judged = judge(
        model,
        byte_tokenizer(),
        prompts,
        first,
        model_config=ModelConfig(name="tiny", prompt_format="plain"),
        config=EvaluationConfig(max_new_tokens=4),
        context=LocalContext(),
        sharded=False,
        further={"other": second},
    )
    assert judged.rewards == (0.25, 0.25) and judged.further == {"other": (0.5, 0.5)}
    assert first.judged == second.judged == list(zip(prompts, judged.answers, strict=True))


def test_an_answer_ends_with_any_end_token_of_the_model() -> None:
    model, tokenizer = tiny_llama(vocab_size=len(byte_tokenizer())), byte_tokenizer()
    whole = answer_of(model)
    letter = next(letter for letter in whole[1:] if letter.isascii() and letter != whole[0])
    model.generation_config.eos_token_id = [*tokenizer.encode(letter), tokenizer.eos_token_id]
    assert end_tokens(model, tokenizer) == model.generation_config.eos_token_id
    assert answer_of(model) == whole[: whole.index(letter)].strip()
