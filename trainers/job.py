"""One trial's work, as plain functions of a job, a pool and a worker: no Ray here."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from metrics.reward import load_reward_model
from metrics.reward.base import RewardModel
from pools.errors import TrainingError
from pools.subset import draw
from pools.types import Example, Pool, Prompt
from trainers.context import WorkerContext
from trainers.evaluate import Judged, judge
from trainers.models import load_policy, load_tokenizer, resolve_model
from trainers.spec import Prepared, SeedResult, Setting, TrialJob


class Bench:
    """The parts that a worker loads once and every seed uses: tokenizer, reward model, held-out prompts."""

    def __init__(self, setting: Setting, pool: Pool, context: WorkerContext) -> None:
        self.setting, self.pool, self.context = setting, pool, context
        self.path = resolve_model(setting.model.name)
        self.tokenizer: Any = load_tokenizer(self.path)
        self.reward_model: RewardModel = load_reward_model(
            setting.reward,
            artifact=Path(setting.reward_artifact) if setting.reward_artifact else None,
            base_model=self.path,
            device=context.device,
        )
        self.prompts: list[Prompt] = [example.prompt for example in pool.held_out]

    def judge(self, model: Any, *, sharded: bool) -> Judged:
        model.eval()
        return judge(
            model,
            self.tokenizer,
            self.prompts,
            self.reward_model,
            model_config=self.setting.model,
            config=self.setting.evaluation,
            context=self.context,
            sharded=sharded,
        )


def run_trial(job: TrialJob, pool: Pool, context: WorkerContext) -> list[SeedResult]:
    """Train the job's split from the base model for each seed in turn, and judge each policy."""
    bench = Bench(job.setting, pool, context)
    results = []
    for seed, order in job.orders.items():
        examples = draw(pool.train, prompts=len(order), responses=job.responses, seed=seed, order=order)
        results.append(_train_and_judge(examples, seed, bench))
        gc.collect()
    return results


def prepare(setting: Setting, pool: Pool, *, seed: int, context: WorkerContext) -> Prepared:
    """What trials stand on: the fitted reward model, where one is asked for, and the base model's own reward.

    The head is fitted once, on rank 0, on the pool's train scores, into `setting.reward_artifact`.
    """
    report: dict[str, Any] | None = None
    if setting.reward.kind == "fitted" and context.rank == 0:
        from metrics.reward.fitted import fit_reward_model

        fitted = fit_reward_model(
            pool.train,
            base_model=resolve_model(setting.model.name),
            directory=Path(setting.reward_artifact or ""),
            config=setting.reward,
            seed=seed,
            device=context.device,
        )
        report = asdict(fitted)
    if context.world_size > 1:
        import torch.distributed as dist

        dist.barrier()
    bench = Bench(setting, pool, context)
    model = load_policy(bench.path, dtype=setting.trainer.dtype).to(context.device)
    return Prepared(base=_result(-1, bench, bench.judge(model, sharded=False)), reward_report=report)


def _train_and_judge(examples: Sequence[Example], seed: int, bench: Bench) -> SeedResult:
    import torch

    from trainers.algorithms import make_algorithm
    from trainers.batching import tokenize_rankings
    from trainers.engine import build_engine
    from trainers.loop import train
    from trainers.policy import Policy, with_reference
    from trainers.schedule import total_steps

    config, model_config = bench.setting.trainer, bench.setting.model
    torch.manual_seed(seed)
    algorithm = make_algorithm(config.algorithm)
    rankings, _ = tokenize_rankings(
        examples,
        bench.tokenizer,
        style=model_config.prompt_format,
        max_prompt_tokens=model_config.max_prompt_tokens,
        max_response_tokens=model_config.max_response_tokens,
    )
    model = load_policy(
        bench.path,
        dtype=config.dtype,
        gradient_checkpointing=config.activation_checkpointing,
        lora=config.lora,
    ).to(bench.context.device)
    model.train()
    policy = Policy(model)
    prepared = [ready for ranking in rankings if (ready := algorithm.prepare(ranking)) is not None]
    if not prepared:
        raise TrainingError(
            f'of {len(examples)} prompts none has responses that "{algorithm.name}" can learn from: '
            "they are equal in score, or became equal when cut to model.max_response_tokens"
        )
    if config.algorithm.uses_reference:
        prepared = with_reference(
            policy, prepared, max_tokens=config.micro_batch_tokens, device=bench.context.device
        )
    engine = build_engine(policy, config, total_steps(config, prepared))
    training = train(engine, prepared, algorithm, config, seed=seed, context=bench.context)
    judged = bench.judge(model, sharded=config.zero_stage == 3)
    engine.destroy()
    return _result(
        seed,
        bench,
        judged,
        trained_tokens=training.tokens * bench.context.world_size,
        train_seconds=training.seconds,
        history=training.history,
    )


def _result(seed: int, bench: Bench, judged: Judged, **training: Any) -> SeedResult:
    by_domain: dict[str, list[float]] = defaultdict(list)
    for prompt, reward in zip(bench.prompts, judged.rewards, strict=True):
        by_domain[prompt.domain or "all"].append(reward)
    return SeedResult(
        seed=seed,
        reward=fmean(judged.rewards),
        rewards=judged.rewards,
        answers=judged.answers,
        domain_rewards={domain: fmean(rewards) for domain, rewards in sorted(by_domain.items())},
        **training,
    )
