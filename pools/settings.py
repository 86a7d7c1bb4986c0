"""The base of every section of the configuration: frozen, keyword-only, closed to unknown keys."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A section of the study's configuration.

    pydantic (a dependency of Ray and MLflow already) checks types and ranges; unknown keys are refused
    so that a misspelt field never silently keeps its default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
