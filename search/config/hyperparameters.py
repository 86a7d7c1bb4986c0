"""The trainer fields that a study searches besides splits: what they may be, and how a trial gets them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from pydantic import Field, ValidationError, model_validator

from base.errors import ConfigError, did_you_mean
from base.settings import Settings, fields_of
from trainers.config.trainer import TrainerConfig

Scalar: TypeAlias = str | int | float | bool
# Changes memory and speed alone, so there is no best value to find by reward.
FIXED = ("trainer.micro_batch_tokens",)


class Range(Settings):
    """Every number from `low` to `high`, both included."""

    low: float = Field(description="smallest value (unit of the field)")
    high: float = Field(description="largest value (unit of the field)")
    log: bool = Field(False, description="search evenly over the logarithm")

    @model_validator(mode="after")
    def _in_order(self) -> Range:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"log needs low above 0, not {self.low:g}")
        return self


@dataclass(frozen=True)
class Numbers:
    """A range in the type of its field."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def holds(self, value: Any) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    @property
    def middle(self) -> Scalar:
        between = (self.low * self.high) ** 0.5 if self.log else (self.low + self.high) / 2
        return round(between) if self.whole else between


@dataclass(frozen=True)
class Choices:
    """Values without an order."""

    values: tuple[Scalar, ...]

    def holds(self, value: Any) -> bool:
        return value in self.values

    @property
    def middle(self) -> Scalar:
        return self.values[0]


Domain: TypeAlias = Numbers | Choices


def domains(space: Mapping[str, Range | tuple[Scalar, ...]], trainer: TrainerConfig) -> dict[str, Domain]:
    """What each named field may be; raises ConfigError for a field or a value that the trainer refuses."""
    names = {name: info for name, info in fields_of(TrainerConfig, "trainer.") if name not in FIXED}
    found: dict[str, Domain] = {}
    for name, asked in space.items():
        if name not in names:
            raise ConfigError(
                f'search.space names "{name}"{did_you_mean(name, list(names))}: '
                f"it takes fields of the trainer: {', '.join(names)}"
            )
        if isinstance(asked, Range):
            low, high = (_accepted(trainer, name, value) for value in (asked.low, asked.high))
            if isinstance(low, bool) or not isinstance(low, int | float):
                raise ConfigError(f"search.space: {name} is not a number: list its values instead")
            found[name] = Numbers(low, float(high), asked.log, isinstance(low, int))
        else:
            values = tuple(_accepted(trainer, name, value) for value in asked)
            if len(values) < 2 or len(set(values)) < len(values):
                raise ConfigError(f"search.space: {name} takes two or more different values, not {asked}")
            found[name] = Choices(values)
    return found


def applied(trainer: TrainerConfig, hyperparameters: Mapping[str, Scalar]) -> TrainerConfig:
    """`trainer` with the given fields (`trainer.section.field`) in place of its own."""
    tree = trainer.model_dump()
    for name, value in hyperparameters.items():
        *sections, leaf = name.split(".")[1:]
        node = tree
        for section in sections:
            node = node[section]
        node[leaf] = value
    return TrainerConfig.model_validate(tree)


def shown(hyperparameters: Mapping[str, Scalar]) -> list[str]:
    """Hyperparameters for people: `learning_rate=1e-05`."""
    return [
        f"{name.removeprefix('trainer.')}={f'{value:.3g}' if isinstance(value, float) else value}"
        for name, value in hyperparameters.items()
    ]


def default_hyperparameters(trainer: TrainerConfig, found: Mapping[str, Domain]) -> dict[str, Scalar]:
    """The trainer's own values where they lie within the space, else its middle."""
    values = {name: value_of(trainer, name) for name in found}
    return {
        name: values[name] if domain.holds(values[name]) else domain.middle for name, domain in found.items()
    }


def _accepted(trainer: TrainerConfig, name: str, value: Scalar) -> Any:
    """`value` in the field's own type."""
    try:
        return value_of(applied(trainer, {name: value}), name)
    except ValidationError as error:
        raise ConfigError(f"search.space: {name} = {value!r}: {error.errors()[0]['msg']}") from None


def value_of(trainer: TrainerConfig, name: str) -> Any:
    """The trainer's value of the field `trainer.section.name`."""
    found: Any = trainer
    for part in name.split(".")[1:]:
        found = getattr(found, part)
    return found
