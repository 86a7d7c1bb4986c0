"""One trial's work, as plain functions of a job, a pool and a worker: no Ray here."""

from __future__ import annotations

import gc
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from metrics.config import RewardConfig
from metrics.reward import load_reward_model
from metrics.reward.base import RewardModel
from pools.errors import RefusedError, TrainingError
from pools.subset import draw
from pools.types import Example, Pool, Prompt
from trainers.context import WorkerContext
from trainers.evaluate import Judged, judge
from trainers.memory import told_when_full
from trainers.models import load_policy, load_tokenizer, resolve_model
from trainers.spec import Prepared, SeedResult, Setting, TrialJob
from trainers.together import gathered


class Bench:
    """The parts that a worker loads once and every seed uses: tokenizer, reward models, prompts."""

    def __init__(self, setting: Setting, pool: Pool, context: WorkerContext) -> None:
        self.setting, self.context = setting, context
        self.path = resolve_model(setting.model.name)
        self.tokenizer: Any = load_tokenizer(self.path)
        self.prompts: list[Prompt] = [example.prompt for example in pool.held_out]
        self._test = self._load(setting.reward)
        self._dev = self._test if setting.dev_reward is None else self._load(setting.dev_reward)

    def _load(self, config: Any) -> RewardModel:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in self.setting.reward_artifact.items():
                (Path(folder) / name).write_bytes(content)
            return load_reward_model(
                config,
                artifact=Path(folder) if self.setting.reward_artifact else None,
                base_model=self.path,
                device=self.context.device,
            )

    def judge(self, model: Any, *, sharded: bool) -> Judged:
        """The model's answers to the held-out prompts, by the reward model of the test."""
        return self._judge(model, self.prompts, self._test, sharded)

    def judge_dev(self, model: Any, *, sharded: bool) -> float:
        """The model's mean reward on the dev prompts."""
        return fmean(self._judge(model, self.setting.dev_prompts, self._dev, sharded).rewards)

    def _judge(self, model: Any, prompts: Sequence[Prompt], by: RewardModel, sharded: bool) -> Judged:
        training = model.training
        model.eval()
        judged = judge(
            model,
            self.tokenizer,
            prompts,
            by,
            model_config=self.setting.model,
            config=self.setting.evaluation,
            context=self.context,
            sharded=sharded,
        )
        model.train(training)
        return judged


def run_trial(job: TrialJob, pool: Pool, context: WorkerContext) -> list[SeedResult]:
    """Train the job's split from the base model for each seed in turn, and judge each policy.

    Goes on from the newest checkpoint of `context`, and leaves checkpoints there (`trainers.checkpoint`).
    """
    from trainers.checkpoint import Keeper

    with told_when_full(context.device):
        bench = Bench(job.setting, pool, context)
        keeper = Keeper(job.setting.checkpoints, context)
        done = {result.seed for result in keeper.results}
        left = [seed for seed in job.orders if seed not in done]
        for seed in left:
            order = job.orders[seed]
            examples = draw(pool.train, prompts=len(order), responses=job.responses, seed=seed, order=order)
            result = _train_and_judge(examples, seed, bench, keeper, job)
            keeper.finished(result, more=seed != left[-1])
            gc.collect()
        return keeper.results


def prepare(setting: Setting, pool: Pool, *, seed: int, context: WorkerContext) -> Prepared:
    """What trials stand on: the fitted reward model, where one is asked for, and the base model's own reward.

    The head is fitted once, on rank 0, on the pool's train scores. Its files (a few kilobytes) are
    returned, since trials may run on other machines.
    """
    files: dict[str, bytes] = {}
    report: dict[str, Any] | None = None
    fitted = [config for config in (setting.reward, setting.dev_reward) if config and config.kind == "fitted"]
    if fitted and context.rank == 0:
        files, report = _fit(fitted[0], setting.model.name, pool, seed, context.device)
    if fitted:
        files = gathered(files, context)[0]
    bench = Bench(replace(setting, reward_artifact=files), pool, context)
    model = load_policy(bench.path, dtype=setting.trainer.dtype).to(context.device)
    base = _result(-1, bench, bench.judge(model, sharded=False))
    return Prepared(base=base, reward_report=report, reward_artifact=files)


def _fit(
    config: RewardConfig, model: str, pool: Pool, seed: int, device: str
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The fitted reward model's files by name, and its report."""
    from metrics.reward.fitted import fit_reward_model

    with tempfile.TemporaryDirectory() as folder:
        report = fit_reward_model(
            pool.train,
            base_model=resolve_model(model),
            directory=Path(folder),
            config=config,
            seed=seed,
            device=device,
        )
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}, asdict(report)


def _rankings(
    examples: Sequence[Example], bench: Bench, algorithm: Any
) -> tuple[list[Any], dict[str, float]]:
    """The examples as the algorithm learns from them, and counts of what was cut or left out.

    Raises TrainingError where nothing is left.
    """
    from trainers.batching import tokenize_rankings

    config = bench.setting.model
    rankings, report = tokenize_rankings(
        examples,
        bench.tokenizer,
        style=config.prompt_format,
        max_prompt_tokens=config.max_prompt_tokens,
        max_response_tokens=config.max_response_tokens,
    )
    prepared = [ready for ranking in rankings if (ready := algorithm.prepare(ranking)) is not None]
    if not prepared:
        raise TrainingError(
            f'of {len(examples)} prompts none has responses that "{algorithm.name}" can learn from: '
            "they are equal in score, or became equal when cut to model.max_response_tokens"
        )
    kept = {"rankings": len(prepared), "rankings_dropped": len(examples) - len(prepared)}
    return prepared, {name: float(count) for name, count in (asdict(report) | kept).items()}


def _train_and_judge(
    examples: Sequence[Example], seed: int, bench: Bench, keeper: Any, job: TrialJob
) -> SeedResult:
    import torch

    from trainers.algorithms import make_algorithm
    from trainers.engine import build_engine
    from trainers.policy import Policy, with_reference
    from trainers.schedule import total_steps

    config = bench.setting.trainer
    torch.manual_seed(seed)
    algorithm = make_algorithm(config.algorithm)
    rankings, counts = _rankings(examples, bench, algorithm)
    model = load_policy(
        bench.path,
        dtype=config.dtype,
        gradient_checkpointing=config.activation_checkpointing,
        lora=config.lora,
    ).to(bench.context.device)
    model.train()
    policy = Policy(model)
    if config.algorithm.uses_reference:
        rankings = with_reference(
            policy, rankings, max_tokens=config.micro_batch_tokens, device=bench.context.device
        )
    engine = build_engine(policy, config, total_steps(config, rankings))
    result = _Training(seed, bench, keeper, engine, model).run(rankings, algorithm)
    told = [f"each response is encoded with its own copy of the prompt: {policy.reason}"]
    result = replace(
        result,
        telemetry={**result.telemetry, **counts},
        notes=[*result.notes, *(told if policy.reason else [])],
    )
    if bench.setting.policies is not None:
        result = _keep_policy(result, model, bench, job)
    engine.destroy()
    return result


class _Training:
    """One seed's training from its engine to its result."""

    def __init__(self, seed: int, bench: Bench, keeper: Any, engine: Any, model: Any) -> None:
        from trainers.best import Best

        self.seed, self.bench, self.keeper, self.engine, self.model = seed, bench, keeper, engine, model
        self.best = Best()
        self.steps = 0
        self.sharded = bench.setting.trainer.zero_stage == 3

    def run(self, rankings: Sequence[Any], algorithm: Any) -> SeedResult:
        """Train, put the best policy back where there were evaluations, and judge it."""
        from trainers.loop import train
        from trainers.schedule import total_steps

        config, context = self.bench.setting.trainer, self.bench.context
        self.steps = total_steps(config, rankings)
        training = self.keeper.resume(self.seed, self.engine, self.best)
        try:
            train(
                self.engine,
                rankings,
                algorithm,
                config,
                seed=self.seed,
                context=context,
                training=training,
                after_step=self._after_step,
            )
        except RefusedError as error:
            last = self.keeper.last or "none"
            raise RefusedError(f"seed {self.seed}: {error}; last checkpoint: {last}") from error
        if self.best.reward is not None:
            self.best.put_back(self.model)
        started = time.perf_counter()
        judged = self.bench.judge(self.model, sharded=self.sharded)
        training.spend({"evaluate": time.perf_counter() - started})
        return self._result(training, judged)

    def _after_step(self, training: Any) -> None:
        every, last = self.bench.setting.evaluation.every, training.step == self.steps
        if every and (training.step % every == 0 or last):
            started = time.perf_counter()
            reward = self.bench.judge_dev(self.model, sharded=self.sharded)
            seconds = time.perf_counter() - started
            training.note({"dev_reward": reward, "seconds_evaluate": seconds})
            training.spend({"evaluate": seconds})
            self.best.offer(reward, training.step, self.model)
        self.keeper.after_step(self.seed, self.engine, training, self.best, last=last)

    def _result(self, training: Any, judged: Judged) -> SeedResult:
        from trainers.telemetry import peak_memory

        memory = {"peak_memory_gib": peak_memory(self.bench.context.device)}
        trouble = self.keeper.trouble
        return _result(
            self.seed,
            self.bench,
            judged,
            trained_tokens=training.tokens,
            train_seconds=training.train_seconds,
            history=training.history,
            best_step=self.best.step if self.best.reward is not None else None,
            dev_reward=self.best.reward,
            telemetry=training.telemetry() | memory | {"seconds_checkpoint": self.keeper.take_seconds()},
            notes=[f"no checkpoint could be kept: {trouble}"] if trouble else [],
        )


def _keep_policy(result: SeedResult, model: Any, bench: Bench, job: TrialJob) -> SeedResult:
    """Save the policy that was judged; where that fails, the result says so and stands."""
    from trainers.engine import whole_weights
    from trainers.export import model_card, save_policy

    setting, first = bench.setting, bench.context.rank == 0
    weights = whole_weights(model, keep=first)
    if not first:
        return result
    name = f"{job.name}-seed{result.seed}"
    folder = Path(setting.policies or "") / name
    card = model_card(name, base=setting.model.name, facts={**job.facts, **_facts(result, setting)})
    try:
        save_policy(
            weights, folder, base=bench.path, config=setting.trainer, tokenizer=bench.tokenizer, card=card
        )
    except OSError as error:
        return replace(result, notes=[*result.notes, f"the policy could not be saved to {folder}: {error}"])
    return replace(result, policy=str(folder))


def _facts(result: SeedResult, setting: Setting) -> dict[str, Any]:
    """What a model card says of this training, beside what its trial knows."""
    count = len(result.rewards)
    spread = sum((reward - result.reward) ** 2 for reward in result.rewards) / max(count - 1, 1)
    error = f" ± {(spread / count) ** 0.5:.4f}" if count > 1 else ""
    facts = {
        "seed": result.seed,
        "algorithm": setting.trainer.algorithm.name,
        "tokens trained": f"{result.trained_tokens:,}",
        "reward": f"{result.reward:.4f}{error} (mean and standard error over {count} held-out prompts)",
        "reward model": setting.reward.source,
    }
    if result.best_step is not None:
        facts["chosen by"] = f"dev reward {result.dev_reward:.4f}, the best, at step {result.best_step}"
    return facts


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
