"""One seed's training, from its examples to an evaluated policy."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from safetensors import SafetensorError

from base.errors import NonRetryableError, TrainingError
from pools.types import Example
from trainers.algorithms.base import Algorithm
from trainers.algorithms.registry import make_algorithm
from trainers.models import load_policy
from trainers.policy.batching import Ranking, tokenize_rankings
from trainers.policy.policy import Policy, with_reference
from trainers.spec import SeedResult, TrialJob, TrialSetup
from trainers.training.average import TailAverage
from trainers.training.best import BestPolicy
from trainers.training.checkpoint import Checkpointer
from trainers.training.engine import build_engine, whole_weights
from trainers.training.loop import Training, train
from trainers.training.schedule import averaged_steps, total_steps
from trainers.training.telemetry import peak_memory
from trainers.trial.evaluate import Judged
from trainers.trial.evaluator import Evaluator
from trainers.trial.export import model_card, save_policy


def _rankings(
    examples: Sequence[Example], evaluator: Evaluator, algorithm: Algorithm
) -> tuple[list[Ranking], dict[str, float]]:
    """The examples as the algorithm learns from them, and counts of what was cut or dropped.

    Raises TrainingError where nothing is left.
    """
    config = evaluator.setup.model
    rankings, report = tokenize_rankings(
        examples,
        evaluator.tokenizer,
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


def train_and_evaluate(
    examples: Sequence[Example], seed: int, evaluator: Evaluator, checkpointer: Checkpointer, job: TrialJob
) -> SeedResult:
    """Train the base model on `examples` and evaluate it, resuming from a checkpoint of this seed if any."""
    config = evaluator.setup.trainer
    torch.manual_seed(seed)
    algorithm = make_algorithm(config.algorithm)
    rankings, counts = _rankings(examples, evaluator, algorithm)
    model = load_policy(
        evaluator.path,
        dtype=config.dtype,
        gradient_checkpointing=config.activation_checkpointing,
        lora=config.lora,
    ).to(evaluator.context.device)
    evaluator.context.reach("model loaded")
    model.train()
    policy = Policy(model)
    if algorithm.uses_reference:
        rankings = with_reference(
            policy, rankings, max_tokens=config.micro_batch_tokens, device=evaluator.context.device
        )
    steps = total_steps(config, rankings)
    engine = build_engine(policy, config, steps)
    evaluator.context.reach("engine built")
    result = _SeedRun(seed, steps, evaluator, checkpointer, engine, model).run(rankings, algorithm)
    result = replace(
        result,
        telemetry={**result.telemetry, **counts},
        notes=[*result.notes, *([policy.note] if policy.note else [])],
    )
    if evaluator.setup.policies is not None:
        result = add_policy(result, model, evaluator, job)
    engine.destroy()
    return result


class _SeedRun:
    """One seed's training from its engine to its result."""

    def __init__(
        self,
        seed: int,
        steps: int,
        evaluator: Evaluator,
        checkpointer: Checkpointer,
        engine: Any,
        model: Any,
    ) -> None:
        self.seed, self.steps, self.evaluator, self.checkpointer = seed, steps, evaluator, checkpointer
        self.engine, self.model = engine, model
        self.best = BestPolicy()
        self.average = TailAverage(begins=steps - averaged_steps(evaluator.setup.trainer, steps) + 1)
        self.sharded = evaluator.setup.trainer.zero_stage == 3

    def run(self, rankings: Sequence[Ranking], algorithm: Algorithm) -> SeedResult:
        """Train, and evaluate the best policy where there were dev evaluations, else the last or the mean."""
        training = self.checkpointer.resume(self.seed, self.engine, self.best, self.average)
        try:
            train(
                self.engine,
                rankings,
                algorithm,
                self.evaluator.setup.trainer,
                seed=self.seed,
                context=self.evaluator.context,
                training=training,
                after_step=self._after_step,
            )
            if self.best.reward is not None:
                self.best.restore(self.model)
            else:
                self.average.apply(self.model)
            started = time.perf_counter()
            judged = self.evaluator.judge(self.model, sharded=self.sharded)
            training.add_seconds({"evaluate": time.perf_counter() - started})
        except NonRetryableError as error:
            last = self.checkpointer.last or "none"
            raise NonRetryableError(f"seed {self.seed}: {error}; last checkpoint: {last}") from error
        return self._result(training, judged)

    def _after_step(self, training: Training) -> None:
        every, last = self.evaluator.setup.evaluation.every, training.step == self.steps
        self.average.update(training.step, self.model)
        if every and (training.step % every == 0 or last):
            with self.average.applied(self.model):
                self._evaluate_dev(training)
        self.checkpointer.after_step(self.seed, self.engine, training, self.best, self.average, last=last)

    def _evaluate_dev(self, training: Training) -> None:
        started = time.perf_counter()
        reward = self.evaluator.judge_dev(self.model, sharded=self.sharded)
        seconds = time.perf_counter() - started
        training.record({"dev_reward": reward, "seconds_evaluate": seconds})
        training.add_seconds({"evaluate": seconds})
        self.evaluator.context.progress({"dev_reward": reward})
        self.best.update(reward, training.step, self.model)

    def _result(self, training: Training, judged: Judged) -> SeedResult:
        costs = {
            "peak_memory_gib": peak_memory(self.evaluator.context.device),
            "seconds_checkpoint": self.checkpointer.take_seconds(),
        }
        error = self.checkpointer.error
        best_step = self.best.step if self.best.reward is not None else None
        return self.evaluator.result(
            self.seed,
            judged,
            trained_tokens=training.tokens,
            train_seconds=training.train_seconds,
            history=training.history,
            best_step=best_step,
            dev_reward=self.best.reward,
            averaged_steps=self.average.steps_at(best_step or training.step),
            telemetry=training.telemetry() | costs | {"parameters": float(parameters_of(self.model))},
            notes=[f"no checkpoint could be written: {error}"] if error else [],
        )


def parameters_of(model: torch.nn.Module) -> int:
    """How many parameters the model has, over all workers where these share them (ZeRO-3)."""
    return sum(getattr(one, "ds_numel", one.numel()) for one in model.parameters())


def add_policy(result: SeedResult, model: Any, evaluator: Evaluator, job: TrialJob) -> SeedResult:
    """Save the evaluated policy and add its path to the result; a failure becomes a note."""
    setup, first = evaluator.setup, evaluator.context.rank == 0
    weights = whole_weights(model, keep=first)
    if not first:
        return result
    name = f"{job.name}-seed{result.seed}"
    destination = f"{setup.policies}/{name}"
    card = model_card(name, base=setup.model.name, facts={**job.facts, **_facts(result, setup)})
    try:
        save_policy(
            weights,
            destination,
            base=evaluator.path,
            config=setup.trainer,
            tokenizer=evaluator.tokenizer,
            card=card,
        )
    except (OSError, RuntimeError, SafetensorError) as error:
        note = f"the policy could not be saved to {destination}: {error}"
        return replace(result, notes=[*result.notes, note])
    return replace(result, policy=destination)


def _facts(result: SeedResult, setup: TrialSetup) -> dict[str, Any]:
    """What a model card says of this training, besides the facts of its trial."""
    count = len(result.rewards)
    spread = sum((reward - result.reward) ** 2 for reward in result.rewards) / max(count - 1, 1)
    error = f" ± {(spread / count) ** 0.5:.4f}" if count > 1 else ""
    facts = {
        "seed": result.seed,
        "algorithm": setup.trainer.algorithm.name,
        "tokens trained": f"{result.trained_tokens:,}",
        "reward": f"{result.reward:.4f}{error} (mean and standard error over {count} held-out prompts)",
        "reward model": setup.reward.source,
    }
    if result.best_step is not None:
        facts["chosen by"] = f"dev reward {result.dev_reward:.4f}, the best, at step {result.best_step}"
    if result.averaged_steps:
        steps = result.best_step or round(result.history[-1]["step"])
        facts["weights"] = f"averaged over the last {result.averaged_steps} of {steps} steps"
    return facts
