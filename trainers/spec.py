"""The inputs and outputs of a trial: plain data, so that the driver needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from metrics.config import RewardConfig
from pools.raters import RaterLabels
from pools.response_choice import ResponseChoice
from pools.types import Prompt
from trainers.config.trainer import CheckpointConfig, EvaluationConfig, ModelConfig, TrainerConfig


@dataclass(frozen=True, kw_only=True)
class TrialSetup:
    """What all trials of a study share.

    `reward_artifact` holds the files of the fitted reward model, by name. `dev_prompts` choose the best
    checkpoint, scored by `dev_reward` or, where that is None, by `reward`. `further_rewards` judge answers to
    held-out prompts too. `reward_base` is the model whose features a fitted reward model reads, "" for the
    one that is trained. `policies` is the folder or URI for trained policies, None where none are kept.
    `compare_people` asks how far `reward` agrees with the scores of held-out responses, which people gave.
    """

    model: ModelConfig
    trainer: TrainerConfig
    evaluation: EvaluationConfig
    reward: RewardConfig
    reward_artifact: Mapping[str, bytes] = field(default_factory=dict)
    dev_prompts: Sequence[Prompt] = ()
    dev_reward: RewardConfig | None = None
    further_rewards: Sequence[RewardConfig] = ()
    reward_base: str = ""
    checkpoints: CheckpointConfig = CheckpointConfig()
    policies: str | None = None
    compare_people: bool = False


@dataclass(frozen=True, kw_only=True)
class TrialJob:
    """Train and evaluate one split, once for each seed.

    `orders` holds, for each seed, the indices into `Pool.train` of its prompts, in labelling order, and
    `choice` says which of their responses are labelled. `labels` are what people say of them, None for the
    pool's scores; `human_share` is the share of prompts that people label, and a judge the others, None where
    kinds of labels are not told apart. `name` names its policies, whose model cards show
    `facts` (label to value).
    """

    setup: TrialSetup
    responses: int
    orders: Mapping[int, Sequence[int]]
    choice: ResponseChoice = "random"
    labels: RaterLabels | None = None
    human_share: float | None = None
    name: str = "trial"
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SeedResult:
    """One training's outcome. `rewards` and `answers` follow the order of the pool's held-out prompts;
    both are empty for a result that was read from a table. `further_rewards` are the mean rewards of the
    same answers by other reward models, by name.

    With evaluations on dev prompts, the policy evaluated is that of `best_step`, whose mean dev reward was
    `dev_reward`. Its weights are the mean of those after the last `averaged_steps` steps up to there; 0 where
    they are those of one step. `telemetry` holds the training's totals (`Training.telemetry`), `policy` the
    folder or URI that the policy was saved to ("" for none), `notes` what the user should know about it.
    """

    seed: int
    reward: float
    rewards: tuple[float, ...] = ()
    answers: tuple[str, ...] = ()
    domain_rewards: Mapping[str, float] = field(default_factory=dict)
    trained_tokens: int = 0
    train_seconds: float = 0.0
    history: Sequence[Mapping[str, float]] = ()
    best_step: int | None = None
    dev_reward: float | None = None
    averaged_steps: int = 0
    telemetry: Mapping[str, float] = field(default_factory=dict)
    policy: str = ""
    notes: Sequence[str] = field(default_factory=list)
    further_rewards: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> SeedResult:
        """The inverse of `dataclasses.asdict`, and of its way through JSON."""
        return cls(**{**value, "rewards": tuple(value["rewards"]), "answers": tuple(value["answers"])})


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What is known before the first trial: the base model's result (its `seed` is -1), and for a fitted
    reward model its files by name and its report on unseen responses (none and None for other kinds).
    `agreement_with_people` is the deciding reward model's, in words, where a study asks for it."""

    base: SeedResult
    reward_report: Mapping[str, Any] | None = None
    agreement_with_people: str = ""
    reward_artifact: Mapping[str, bytes] = field(default_factory=dict)
