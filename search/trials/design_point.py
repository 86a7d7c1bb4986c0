"""What a study trains: design points, and the trials that train one of them once per seed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from pools.response_choice import ResponseChoice
from search.config.cost import PLAIN, Labelling, Split
from search.config.hyperparameters import Scalar, shown

Hyperparameters: TypeAlias = tuple[tuple[str, Scalar], ...]


@dataclass(frozen=True, kw_only=True)
class DesignPoint:
    """What distinguishes one trial from another: a split, how its prompts are drawn, and hyperparameters.

    `budget_fraction` is the share of the study's budget that bought the split; None for a trial that was
    read from a table without one. `hyperparameters` are sorted pairs of name and value. `transfer` names the
    setting, other than the study's own, that the point is trained under (`search.config.transfer`); else "".
    `raters` is how many judge each response; None: the pool's scores are taken as they are. `agreement` is
    what is assumed of one of them, None where the labels are those of the pool's own raters.
    `response_choice` and `human_share` as in `search.config.cost.Labelling`.
    """

    prompts: int
    responses: int
    budget_fraction: float | None = None
    selection: str = "random"
    strength: float = 0.0
    hyperparameters: Hyperparameters = ()
    transfer: str = ""
    raters: int | None = None
    agreement: float | None = None
    response_choice: ResponseChoice = "random"
    human_share: float | None = None

    @property
    def label(self) -> str:
        """A short name for people: `120 x 4`, with selection and hyperparameters where there are any."""
        parts = [str(self.split)]
        if self.selection != "random":
            parts.append(self.selection if self.strength == 1 else f"{self.selection} {self.strength:g}")
        return " ".join(parts + shown(dict(self.hyperparameters)))

    @property
    def split(self) -> Split:
        return Split.of(self.prompts, self.responses, self.labelling)

    @property
    def labelling(self) -> Labelling:
        return Labelling(self.raters, self.response_choice, self.human_share)

    @property
    def draw(self) -> tuple[str, float]:
        """How its prompts are drawn: the selection and its strength."""
        return self.selection, self.strength

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `from_dict` reads them; what a point has not is left out, so that keys stay."""
        absent = {"transfer": "", "agreement": None, **vars(PLAIN)}
        return {name: value for name, value in asdict(self).items() if absent.get(name, ...) != value}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> DesignPoint:
        """The inverse of `to_dict`, and of its way through JSON."""
        pairs = tuple((name, setting) for name, setting in value["hyperparameters"])
        return cls(**{**value, "hyperparameters": pairs})


@dataclass(frozen=True)
class Trial:
    """A design point to be trained once for each seed."""

    point: DesignPoint
    seeds: tuple[int, ...]

    @property
    def label(self) -> str:
        return self.point.label

    def key(self, identity: str) -> str:
        """The trial's name: a digest of its point and seeds within the study that `identity` stands for."""
        return digest({"study": identity, **self.to_dict()})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `from_dict` reads them."""
        return {"point": self.point.to_dict(), "seeds": self.seeds}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Trial:
        """The inverse of `to_dict`, and of its way through JSON."""
        return cls(DesignPoint.from_dict(value["point"]), tuple(value["seeds"]))


def digest(value: Any) -> str:
    """Twelve hexadecimal digits that stand for a JSON value."""
    return hashlib.sha256(_json(value)).hexdigest()[:12]


def digest_of_list(values: Iterable[Any]) -> str:
    """`digest` of a list of these values, of which one is held at a time."""
    found, before = hashlib.sha256(), b"["
    for value in values:
        found.update(before + _json(value))
        before = b", "
    found.update(b"[]" if before == b"[" else b"]")
    return found.hexdigest()[:12]


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=str).encode()
