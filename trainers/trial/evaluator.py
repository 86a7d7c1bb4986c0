"""The evaluator of a trial: loaded once on each worker, used by every seed."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from metrics.config import RewardConfig
from metrics.reward.base import RewardModel
from metrics.reward.people import agreement_with_people
from metrics.reward.registry import load_reward_model
from pools.types import Example, Pool, Prompt
from trainers.models import load_tokenizer, resolve_model
from trainers.spec import SeedResult, TrialSetup
from trainers.trial.evaluate import Judged, judge
from trainers.workers.context import WorkerContext

if TYPE_CHECKING:
    from trainers.generation.vllm import AnswerEngine


class Evaluator:
    """The tokenizer, the reward models and the held-out prompts, and the scores of a model by them.

    With vLLM its engine too, made here by all workers at once.
    """

    def __init__(self, setup: TrialSetup, pool: Pool, context: WorkerContext) -> None:
        self.setup, self.context = setup, context
        self.path = resolve_model(setup.model.name)
        self.tokenizer: Any = load_tokenizer(self.path)
        self.prompts: list[Prompt] = [example.prompt for example in pool.held_out]
        self._engine = self._make_engine() if setup.evaluation.engine == "vllm" else None
        self._test = self._load(setup.reward)
        self._dev = self._test if setup.dev_reward is None else self._load(setup.dev_reward)
        self._further = {config.source: self._load(config) for config in setup.further_rewards}

    def _load(self, config: RewardConfig) -> RewardModel:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in self.setup.reward_artifact.items():
                (Path(folder) / name).write_bytes(content)
            return load_reward_model(
                config,
                artifact=Path(folder) if self.setup.reward_artifact else None,
                base_model=resolve_model(self.setup.reward_base or self.setup.model.name),
                device=self.context.device,
            )

    def _make_engine(self) -> AnswerEngine:
        from trainers.generation.vllm import EngineSettings, kept_engine

        model, evaluation = self.setup.model, self.setup.evaluation
        return kept_engine(
            EngineSettings(
                path=self.path,
                dtype=self.setup.trainer.dtype,
                longest=model.max_prompt_tokens + evaluation.max_new_tokens,
                cached=evaluation.batch_tokens,
                device=self.context.device,
                workers=self.context.world_size,
            )
        )

    def judge(self, model: Any, *, sharded: bool) -> Judged:
        """The model's answers to the held-out prompts, scored by the reward models of the test."""
        return self._judge(model, self.prompts, self._test, sharded, self._further)

    def judge_dev(self, model: Any, *, sharded: bool) -> float:
        """The model's mean reward on the dev prompts."""
        return fmean(self._judge(model, self.setup.dev_prompts, self._dev, sharded).rewards)

    def agreement_with_people(self, held_out: Sequence[Example]) -> str:
        """How far the deciding reward model agrees with the scores of held-out responses, in words."""
        return agreement_with_people(self._test, held_out)

    def _judge(
        self,
        model: Any,
        prompts: Sequence[Prompt],
        reward: RewardModel,
        sharded: bool,
        further: Mapping[str, RewardModel] | None = None,
    ) -> Judged:
        return judge(
            model,
            self.tokenizer,
            prompts,
            reward,
            model_config=self.setup.model,
            config=self.setup.evaluation,
            context=self.context,
            sharded=sharded,
            engine=self._engine,
            further=further,
        )

    def result(self, seed: int, judged: Judged, **training: Any) -> SeedResult:
        """The result of `seed`: rewards, in total and by domain, and further fields from `training`."""
        by_domain: dict[str, list[float]] = defaultdict(list)
        for prompt, reward in zip(self.prompts, judged.rewards, strict=True):
            by_domain[prompt.domain or "all"].append(reward)
        return SeedResult(
            seed=seed,
            reward=fmean(judged.rewards),
            rewards=judged.rewards,
            answers=judged.answers,
            domain_rewards={domain: fmean(rewards) for domain, rewards in sorted(by_domain.items())},
            further_rewards={name: fmean(rewards) for name, rewards in judged.further.items()},
            **training,
        )
