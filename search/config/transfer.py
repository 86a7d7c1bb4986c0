"""Under what else a study's advice is tried: other models, algorithms, learning rates, pairings and steps."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field, ValidationError, field_validator

from base.errors import ConfigError, known
from base.settings import Settings
from search.config.hyperparameters import Scalar, applied, value_of
from trainers.config.algorithm import LOSSES, PAIRED, Pairing
from trainers.config.trainer import TrainerConfig

# The name of another model among a design point's hyperparameters; all others are fields of the trainer.
MODEL = "model.name"


@dataclass(frozen=True)
class Axis:
    """One thing that differs between a study and what its advice is for."""

    field: str  # of TransferConfig
    name: str
    hyperparameter: str
    other: str  # what it is to try it


AXES = (
    Axis("models", "model", MODEL, "another model"),
    Axis("algorithms", "algorithm", "trainer.algorithm.name", "another algorithm"),
    Axis("pairings", "pairing", "trainer.algorithm.pairing", "another pairing"),
    Axis("lrs", "learning rate", "trainer.learning_rate", "another learning rate"),
    Axis("steps", "steps", "trainer.steps", "other steps"),
)


@dataclass(frozen=True)
class Setting:
    """A study's own settings with one of them changed: `axis` to `value`."""

    axis: Axis
    value: Scalar

    @property
    def name(self) -> str:
        """`learning rate 2e-05`: tags the trials under it."""
        return f"{self.axis.name} {self.value}"


class TransferConfig(Settings):
    """Settings under which the best splits are trained again, one changed at a time; none by default."""

    models: tuple[str, ...] = Field(
        (), description="other base models to try the advice with: hub ids, local directories or GGUF files"
    )
    algorithms: tuple[str, ...] = Field(
        (), description=f"other algorithms to try the advice with: {', '.join(LOSSES)}"
    )
    pairings: tuple[Pairing, ...] = Field(
        (),
        description="other ways of pairing responses to try the advice with, where dpo or simpo is trained",
    )
    lrs: tuple[float, ...] = Field((), description="other peak learning rates to try the advice with")
    steps: tuple[int, ...] = Field(
        (), description="other lengths of a training to try the advice with, matching steps (steps)"
    )
    target_parameters: float | None = Field(
        None,
        gt=0,
        description="size of the model that the advice is for, forecast where models of two sizes were tried "
        "(parameters)",
    )
    trials: int = Field(
        12, ge=3, description="most trials for each of these settings, three of them the first look (trials)"
    )

    @field_validator("algorithms")
    @classmethod
    def _algorithms_are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(known(name, LOSSES) for name in names)

    @property
    def settings(self) -> list[Setting]:
        """Each changed setting, in the order of AXES."""
        return [Setting(axis, value) for axis in AXES for value in getattr(self, axis.field)]

    def check(self, model: str, trainer: TrainerConfig) -> None:
        """Raise ConfigError naming the first setting that a study of `model` and `trainer` cannot try."""
        if self.pairings and trainer.algorithm.name not in PAIRED:
            raise ConfigError(
                f'transfer.pairings is given, but trainer.algorithm.name "{trainer.algorithm.name}" draws no '
                f"pairs: only {' and '.join(PAIRED)} do"
            )
        if self.steps and trainer.matching != "steps":
            raise ConfigError(
                f'transfer.steps is given, but trainer.matching is "{trainer.matching}": leave it out, or '
                "match by steps"
            )
        names = [setting.name for setting in self.settings]
        for setting in self.settings:
            if names.count(setting.name) > 1:
                raise ConfigError(f"transfer.{setting.axis.field} holds {setting.value!r} twice")
            _check_setting(setting, model, trainer)


def _check_setting(setting: Setting, model: str, trainer: TrainerConfig) -> None:
    """Raise ConfigError where it is the study's own, or what the trainer refuses."""
    name, where = setting.axis.hyperparameter, f"transfer.{setting.axis.field} holds {setting.value!r}"
    if setting.value == (model if name == MODEL else value_of(trainer, name)):
        raise ConfigError(f"{where}, which is the study's own: leave it out")
    if name == MODEL:
        return
    try:
        applied(trainer, {name: setting.value})
    except ValidationError as error:
        raise ConfigError(f"{where}: {error.errors()[0]['msg']}") from None
