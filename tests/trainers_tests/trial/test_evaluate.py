"""Where an answer that is judged ends, and which reward models judge it."""

from support.memory_reward import MemoryReward
from support.tiny_models import byte_tokenizer, tiny_llama

from metrics.reward.verifier import VerifierReward
from pools.types import Prompt
from trainers.config.trainer import EvaluationConfig, ModelConfig
from trainers.models import end_tokens
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
