"""Where an answer that is judged ends: where the policy would end it when it is served."""

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


def test_an_answer_ends_with_any_end_token_of_the_model() -> None:
    model, tokenizer = tiny_llama(vocab_size=len(byte_tokenizer())), byte_tokenizer()
    whole = answer_of(model)
    letter = next(letter for letter in whole[1:] if letter.isascii() and letter != whole[0])
    model.generation_config.eos_token_id = [*tokenizer.encode(letter), tokenizer.eos_token_id]
    assert end_tokens(model, tokenizer) == model.generation_config.eos_token_id
    assert answer_of(model) == whole[: whole.index(letter)].strip()
