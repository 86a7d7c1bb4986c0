"""The configuration of what is measured."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from base.errors import ConfigError
from base.settings import Settings

_FUNCTION = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"


class DiversityConfig(Settings):
    """What is measured on a trial's prompts beside D and the rivals that need no model."""

    embedding_model: str | None = Field(
        None,
        min_length=1,
        description="sentence-embedding model (folder or hub id): each trial then also reports mean pairwise "
        "distance and the Vendi score of its prompts",
    )


class RewardConfig(Settings):
    """The reward model that judges answers; every one gives a score in [0, 1] to each answer."""

    kind: Literal["verifier", "hf", "fitted"] = Field(
        "verifier",
        description="what judges: a Python function (verifier), a sequence-classification model (hf), "
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
        5, ge=2, le=20, description="fitted: parts of the prompts, each judged by a head fitted on the others"
    )
    timeout: float = Field(
        900,
        gt=0,
        description="longest time that one scoring of all answers may take; workers wait 1800 for each other "
        "(seconds)",
    )

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
        """What judges, in words."""
        named = {
            "verifier": self.function,
            "hf": self.model,
            "fitted": "fitted on the pool's own scores",
        }
        return f"{self.kind} ({named[self.kind]})"
