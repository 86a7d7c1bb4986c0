"""The configuration of a pool that is made: which prompts, who responds, who judges, what it may cost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from base.errors import ConfigError
from base.settings import Settings
from metrics.chat import Style
from metrics.config import RewardConfig
from pools.config import PoolConfig
from pools.files import refuse_credential

EMBEDDED = "embedded:smollm2-135m"
RUBRIC = (
    "Rate how well the response serves the person who wrote the prompt: whether it does what was asked, is "
    "true, and is clear. Its length is no merit in itself."
)


class ModelSource(Settings):
    """A model that writes or judges: where it runs, how hard it may be pressed, and what it costs."""

    name: str = Field(
        EMBEDDED,
        min_length=1,
        description="folder, hub id, embedded model, or the model's name at the endpoint",
    )
    label: str = Field(
        "", description="what its responses carry as `source` (empty: the last part of its name)"
    )
    endpoint: str = Field(
        "",
        description="OpenAI-compatible endpoint up to /v1 (empty: the model runs here or on Ray's workers)",
    )
    api_key: str = Field(
        "OPENAI_API_KEY",
        pattern=r"^[A-Za-z_]\w*$",
        description="name of the environment variable that holds the endpoint's key",
    )
    concurrency: int = Field(8, ge=1, le=1024, description="endpoint: requests at the same time (requests)")
    requests_per_minute: float | None = Field(
        None, gt=0, description="endpoint: most requests that are begun (requests per minute)"
    )
    timeout: float = Field(120, gt=0, description="endpoint: longest wait for one reply (seconds)")
    tries: int = Field(6, ge=1, description="endpoint: how often one request is sent at most (requests)")
    engine: Literal["own", "vllm"] = Field(
        "own",
        description="own: our batched generation; vllm: Ray Data's LLM processor, which needs GPUs and vLLM",
    )
    workers: int = Field(0, ge=0, description="Ray workers that share the prompts; 0: this process (workers)")
    cpus_per_worker: int = Field(1, ge=1, description="CPUs, and torch threads, of one worker (CPUs)")
    gpus_per_worker: int = Field(0, ge=0, description="GPUs of one worker (GPUs)")
    batch: int = Field(
        64, ge=1, description="own and vllm: responses drawn together, and on disk together (responses)"
    )
    dtype: Literal["fp32", "bf16", "fp16"] = Field("bf16", description="own: precision of the weights")
    price_in: float = Field(0, ge=0, description="price of tokens read (money per million tokens)")
    price_out: float = Field(0, ge=0, description="price of tokens written (money per million tokens)")
    price_per_hour: float = Field(
        0, ge=0, description="price of the machines where it runs here or on Ray (money per hour)"
    )

    # An error about a field quotes it, which here might be a key.
    model_config = ConfigDict(hide_input_in_errors=True)

    @model_validator(mode="after")
    def _endpoint_is_a_url(self) -> Self:
        if self.endpoint:
            refuse_credential(self.endpoint, "endpoint")
            if not re.match(r"https?://[^/]", self.endpoint):
                raise ConfigError(
                    f'endpoint "{self.endpoint}" is no URL; it would be like http://127.0.0.1:8000/v1'
                )
        on_gpus = bool(self.workers and self.gpus_per_worker and not self.endpoint)
        if self.engine == "vllm" and not on_gpus:
            raise ConfigError(
                "engine vllm runs on Ray's workers with GPUs: set workers, gpus_per_worker, and no endpoint"
            )
        if self.workers and self.endpoint:
            raise ConfigError(
                "workers are for models that run on Ray; an endpoint has its own: leave one out"
            )
        return self

    @property
    def source(self) -> str:
        """The name that responses carry."""
        return self.label or Path(self.name.removeprefix("embedded:")).name

    def share_of(self, seconds: float) -> float:
        """What one request that took so long adds to the time of very many (seconds)."""
        gap = 60 / self.requests_per_minute if self.requests_per_minute else 0.0
        return max(seconds / self.concurrency, gap)

    @property
    def priced(self) -> bool:
        """Whether any price is given."""
        return bool(self.price_in or self.price_out or self.price_per_hour)


class SamplingConfig(Settings):
    """How responses are drawn, by whichever model."""

    temperature: float = Field(
        0.8, ge=0, le=10, description="of sampling; 0 always takes the likeliest token"
    )
    top_p: float = Field(
        0.95, gt=0, le=1, description="mass of the likeliest tokens that are drawn from (share)"
    )
    max_tokens: int = Field(256, ge=1, description="length of a response at most (tokens)")
    max_prompt_tokens: int = Field(
        2048, ge=1, description="own and vllm: prompt length; of a longer one the end is kept (tokens)"
    )
    system_prompt: str = Field("", description="system turn in front of each prompt that has none")
    stop: tuple[str, ...] = Field(
        (), max_length=4, description="strings that end a response, and are cut off"
    )
    prompt_format: Style = Field(
        "auto", description="own: chat (the template), plain (Human and Assistant turns) or auto"
    )
    chat_template: Path | None = Field(
        None,
        description="file with a Jinja template in place of the model's (an endpoint is sent it)",
    )
    resample: int = Field(
        3,
        ge=0,
        le=20,
        description="how often a response that is empty or repeats another is drawn again (times)",
    )


class JudgeConfig(Settings):
    """What scores the responses."""

    kind: Literal["reward", "pointwise", "pairwise"] = Field(
        "reward",
        description="reward: a reward model; pointwise: a language model gives 1 to 10 to each response; "
        "pairwise: it compares two at a time, in both orders",
    )
    reward: RewardConfig = RewardConfig()
    head: Path | None = Field(
        None, description="reward fitted: folder of a head that was fitted before (a study's reward)"
    )
    head_model: str = Field(
        EMBEDDED, description="reward fitted: the base model whose features that head reads"
    )
    model: ModelSource = ModelSource()
    rubric: str = Field(RUBRIC, min_length=1, description="what a language model judges by")
    max_tokens: int = Field(64, ge=8, description="length of a verdict at most (tokens)")
    temperature: float = Field(0, ge=0, le=2, description="of the verdicts")
    opponents: int = Field(
        0, ge=0, description="pairwise: others that each response is compared with; 0: all (responses)"
    )
    structured: bool = Field(
        True, description="ask the endpoint for JSON of the verdict's schema; off where it refuses that"
    )

    @model_validator(mode="after")
    def _judge_is_reachable(self) -> Self:
        if self.kind != "reward" and not self.model.endpoint:
            raise ConfigError(
                f'judge.kind is "{self.kind}", which asks a model at judge.model.endpoint: set that'
            )
        if self.kind == "reward" and self.reward.kind == "fitted" and self.head is None:
            raise ConfigError(
                'judge.reward.kind is "fitted", which needs a head that was fitted before: set judge.head'
            )
        return self


class MakeConfig(Settings):
    """Everything a made pool depends on."""

    pool: PoolConfig
    responses: int = Field(
        8, ge=1, le=1000, description="different responses that each train prompt gets (responses)"
    )
    prompts: int | None = Field(
        None,
        ge=1,
        description="train prompts that get responses, the first of the file (none: all) (prompts)",
    )
    seed: int = Field(0, ge=0, description="seed of everything random")
    model: ModelSource = ModelSource()
    more_models: tuple[ModelSource, ...] = Field(
        (), description="further models, mappings as `model`: responses are shared out evenly between all"
    )
    sampling: SamplingConfig = SamplingConfig()
    judge: JudgeConfig = JudgeConfig()
    max_cost: float | None = Field(None, gt=0, description="what responses and scores may cost (money)")

    @property
    def models(self) -> tuple[ModelSource, ...]:
        """All models that respond."""
        return (self.model, *self.more_models)

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        labels = [model.source for model in self.models]
        if len(set(labels)) < len(labels):
            raise ConfigError(f"two models have the same label: {', '.join(labels)}; set `label`")
        if self.sampling.temperature == 0 and self.responses > len(self.models):
            raise ConfigError(
                f"sampling.temperature is 0, which gives one response a model, not responses {self.responses}"
            )
        if self.max_cost is not None:
            self._cost_can_be_kept(self.max_cost)
        return self

    def _cost_can_be_kept(self, most: float) -> None:
        asked = [*self.models, *([self.judge.model] if self.judge.kind != "reward" else [])]
        if not any(model.priced for model in asked):
            raise ConfigError(f"max_cost is {most:g}, but no model has a price: set price_in and price_out")
        if any(model.workers and model.priced for model in asked):
            raise ConfigError(
                "max_cost cannot be kept for models on Ray's workers, which take all work at once"
            )
