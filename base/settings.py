"""The base of every section of the configuration: frozen, keyword-only, closed to unknown keys."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo


class Settings(BaseModel):
    """A section of the study's configuration.

    pydantic (a dependency of Ray and MLflow already) checks types and ranges; unknown keys are rejected
    so that a misspelt field never silently keeps its default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every leaf field of a tree of settings, as `section.field` and its declaration."""
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from fields_of(info.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", info
