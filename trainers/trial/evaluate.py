"""Evaluation of a policy: greedy answers to held-out prompts, scored by the reward model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from base.errors import RewardError
from metrics.reward.base import RewardModel
from pools.types import Prompt
from trainers.config.trainer import EvaluationConfig, ModelConfig
from trainers.generation.generate import cut, generate
from trainers.models import end_tokens
from trainers.prompt_format import tokenize_prompts
from trainers.workers.collectives import all_gather, raise_on_all
from trainers.workers.context import WorkerContext

if TYPE_CHECKING:
    from trainers.generation.vllm import AnswerEngine


@dataclass(frozen=True)
class Judged:
    """Answers and their rewards in [0, 1], in the order of the held-out prompts.

    `further` are the rewards of the same answers by other reward models, by name.
    """

    answers: tuple[str, ...]
    rewards: tuple[float, ...]
    further: Mapping[str, tuple[float, ...]] = field(default_factory=dict)


def judge(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    reward_model: RewardModel,
    *,
    model_config: ModelConfig,
    config: EvaluationConfig,
    context: WorkerContext,
    sharded: bool,
    engine: AnswerEngine | None = None,
    further: Mapping[str, RewardModel] | None = None,
) -> Judged:
    """Answer `prompts` greedily and score the answers; every worker returns the whole result.

    `engine` answers in place of our own generation. `further` reward models score the same answers.

    Workers divide the prompts between them, unless the model's weights are `sharded` (ZeRO-3): then each
    forward is a collective, all decode the same prompts in step, and rank 0 scores them. Raises
    NonRetryableError on all workers where the reward model fails on one of them.
    """
    assert engine is None or not sharded, "no worker holds the whole weights"
    alone, scores = sharded or context.world_size == 1, not sharded or context.rank == 0
    indices = range(len(prompts)) if alone else range(context.rank, len(prompts), context.world_size)
    mine = [prompts[i] for i in indices]
    answers = _answer(model, tokenizer, mine, model_config, config, engine) if mine else []
    models, names = [reward_model, *(further or {}).values()], list(further or {})
    with raise_on_all(context, RewardError):
        rewards = [model.score(mine, answers) if mine and scores else [] for model in models]
    own = dict(zip(indices, zip(answers, *rewards, strict=True), strict=True)) if scores else {}
    rows = {index: row for part in all_gather(own, context) for index, row in part.items()}
    found, *columns = ([rows[i][column] for i in range(len(prompts))] for column in range(len(models) + 1))
    by_model = [tuple(column) for column in columns]
    return Judged(tuple(found), by_model[0], dict(zip(names, by_model[1:], strict=True)))


def _answer(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Prompt],
    model_config: ModelConfig,
    config: EvaluationConfig,
    engine: AnswerEngine | None,
) -> list[str]:
    ids = tokenize_prompts(
        prompts, tokenizer, style=model_config.prompt_format, max_tokens=model_config.max_prompt_tokens
    )
    ends = end_tokens(model, tokenizer)
    if engine is not None:
        outputs = engine.answer(
            model, ids, max_new_tokens=config.max_new_tokens, eos_ids=ends, stop=config.stop
        )
    else:
        outputs = generate(
            model,
            ids,
            max_new_tokens=config.max_new_tokens,
            eos_ids=ends,
            pad_id=tokenizer.pad_token_id,
            token_budget=config.batch_tokens,
            stop=config.stop,
            tokenizer=tokenizer,
        )
    texts = tokenizer.batch_decode(outputs, skip_special_tokens=True)
    return [cut(text, config.stop).strip() for text in texts]
