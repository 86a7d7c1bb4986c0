"""TODO"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from search.config.cost import Split
from search.config.hyperparameters import Scalar, shown
from search.config.study import Selection


@dataclass(frozen=True, kw_only=True)
class Point:
    """What distinguishes one trial from another: a split, reached by spending a share of the budget.

    `hyperparameters` are the trainer's fields that the study searches, as sorted pairs of name and value. Without
    `seeds` it is a place that may be trained, and trained again with further seeds.
    """

    prompts: int
    responses: int
    budget_fraction: float
    selection: Selection = "random"
    strength: float = 0.0
    hyperparameters: tuple[tuple[str, Scalar], ...] = ()
    seeds: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """A short name for people: `120 x 4`, with selection and settings where there are any."""
        parts = [f"{self.prompts:,} x {self.responses}"]
        if self.selection != "random":
            parts.append(self.selection if self.strength == 1 else f"{self.selection} {self.strength:g}")
        return " ".join(parts + shown(dict(self.hyperparameters)))

    @property
    def place(self) -> Point:
        """The point without its seeds."""
        return replace(self, seeds=())

    @property
    def split(self) -> Split:
        return Split(self.prompts, self.responses)

    def key(self, identity: str) -> str:
        """The trial's name: a digest of this point within the study that `identity` stands for."""
        fields = asdict(self)
        if not self.hyperparameters:
            del fields["hyperparameters"]  # so that a study that searches none keeps its names
        return digest({"study": identity, **fields})

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as `from_dict` reads them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Point:
        """The inverse of `to_dict`, and of its way through JSON."""
        hyperparameters = tuple((name, setting) for name, setting in value.get("hyperparameters", ()))
        return cls(**{**value, "hyperparameters": hyperparameters, "seeds": tuple(value["seeds"])})


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
