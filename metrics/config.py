"""The configuration of what is measured."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from base.errors import ConfigError, known
from base.settings import Settings

# Each kind of reward model and its module, which has `load(config, source) -> RewardModel`.
REWARD_MODELS = {
    "verifier": "metrics.reward.verifier",
    "hf": "metrics.reward.hf",
    "fitted": "metrics.reward.fitted",
}
_FUNCTION = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"


class DiversityConfig(Settings):
    """What is measured on a trial's prompts beside D and the baseline metrics that need no model."""

    embedding_model: str | None = Field(
        None,
        min_length=1,
        description="sentence-embedding model (folder or hub id): each trial then also reports mean pairwise "
        "distance and the Vendi score of its prompts",
    )


class RewardConfig(Settings):
    """The reward model that scores answers; every kind gives each answer a score in [0, 1]."""

    kind: str = Field(
        "verifier",
        description="what scores: a Python function (verifier), a sequence-classification model (hf), "
        "or a head fitted on the pool's own train scores (fitted)",
    )
    function: str = Field(
        "pools.demo.verifier:score",
        pattern=_FUNCTION,
        description="verifier: an installed function as module:function, taking a prompt and a response",
    )
    model: str | None = Field(
        None, min_length=1, description="hf: a model directory or hub id with one output; safetensors only"
    )
    max_prompt_tokens: int = Field(
        256, ge=1, description="prompt length read by hf and fitted; the end is kept (tokens)"
    )
    max_response_tokens: int = Field(
        256, ge=1, description="response length read by hf and fitted; the beginning is kept (tokens)"
    )
    batch_tokens: int = Field(
        8192, ge=1, description="size of one forward pass of hf and fitted, padding included (tokens)"
    )
    fit_prompts: int = Field(
        400, ge=10, description="fitted: the most train prompts that the head is fitted on (prompts)"
    )
    fit_folds: int = Field(
        5,
        ge=2,
        le=20,
        description="fitted: folds of the prompts, each scored by a head fitted on the others",
    )
    fit_head: Literal["best", "frozen"] = Field(
        "frozen",
        description="fitted: best tunes the last layers under the head as well and keeps whichever orders "
        "more unseen pairs; frozen only reads them",
    )
    force: bool = Field(
        False,
        description="fitted: use the head even where length alone orders more of the unseen pairs",
    )
    timeout: float = Field(
        900,
        gt=0,
        description="longest time that one scoring of all answers may take; workers wait 1800 for each other "
        "(seconds)",
    )

    @field_validator("kind")
    @classmethod
    def _kind_is_known(cls, kind: str) -> str:
        return known(kind, REWARD_MODELS)

    @model_validator(mode="after")
    def _model_is_named(self) -> RewardConfig:
        if self.kind == "hf" and self.model is None:
            raise ConfigError(
                'reward.kind is "hf" but reward.model is not set; give a model directory or a hub id, '
                'or choose reward.kind "verifier" or "fitted"'
            )
        return self

    @property
    def source(self) -> str:
        """The reward model as a report names it."""
        details = {
            "verifier": self.function,
            "hf": self.model,
            "fitted": "fitted on the pool's own scores",
        }
        return f"{self.kind} ({details[self.kind]})" if self.kind in details else self.kind
