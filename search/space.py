"""The points that a study may try, the plan it starts with, and the names by which trials are known."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pools.errors import ConfigError
from search.budget import largest_split
from search.config import SearchConfig, Selection, StudyConfig


@dataclass(frozen=True, kw_only=True)
class Point:
    """What distinguishes one trial from another: a split, reached by spending a share of the budget."""

    prompts: int
    responses: int
    spend: float
    selection: Selection = "random"
    strength: float = 0.0
    seeds: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """A short name for people: `120 x 4`, with the selection where it is not random."""
        return f"{self.prompts:,} x {self.responses}" + (
            "" if self.selection == "random" else f" {self.selection}"
        )

    def key(self, identity: str) -> str:
        """The trial's name: a digest of this point within the study that `identity` stands for."""
        return digest({"study": identity, **asdict(self)})


def digest(value: Any) -> str:
    """Twelve hexadecimal digits that stand for a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]


def seeds_of(config: StudyConfig, repeat: int) -> tuple[int, ...]:
    """The seeds of a point's training; each further `repeat` of the same point gets new ones."""
    first = config.seed + repeat * config.search.seeds
    return tuple(range(first, first + config.search.seeds))


def point_of(
    config: StudyConfig, choice: Mapping[str, Any], *, max_prompts: int | None = None, repeat: int = 0
) -> Point:
    """The point that a choice of responses, spend and selection stands for.

    Raises ConfigError where the choice cannot be had: the spend pays for no prompt, or for more prompts than
    the pool holds (labelling fewer would leave money unspent and call it spent).
    """
    responses, spend, selection = choice["responses"], choice["spend"], choice["selection"]
    split = largest_split(config.cost, config.budget * spend, responses, None)
    wanted = (
        f"search.responses {responses} at search.spends {spend} "
        f"of the budget {config.budget:g} {config.cost.unit}"
    )
    if split is None:
        raise ConfigError(f"{wanted} pays for no prompt at all: raise the budget")
    if max_prompts is not None and split.prompts > max_prompts:
        raise ConfigError(
            f"{wanted} pays for {split.prompts:,} prompts, but the pool has {max_prompts:,} to train on: "
            f"lower the budget, or leave {responses} out of search.responses"
        )
    return Point(
        prompts=split.prompts,
        responses=responses,
        spend=spend,
        selection=selection,
        strength=0.0 if selection == "random" else config.search.strength,
        seeds=seeds_of(config, repeat),
    )


def dimensions(search: SearchConfig) -> dict[str, list[Any]]:
    """The discrete space that Optuna searches."""
    return {
        "responses": list(search.responses),
        "spend": list(search.spends),
        "selection": list(search.selections),
    }


def pilot(search: SearchConfig) -> list[dict[str, Any]]:
    """The choices that every study starts with: all of the space, in an order that can be cut anywhere.

    The whole budget comes first, since that is what is asked; then the smaller spends, which give the
    relation between diversity and reward its spread; random draws come before the other selections.
    """
    return [
        {"responses": responses, "spend": spend, "selection": selection}
        for selection in search.selections
        for spend in sorted(search.spends, reverse=True)
        for responses in search.responses
    ]


def check_space(config: StudyConfig, *, max_prompts: int, max_responses: int) -> None:
    """Raise ConfigError unless every point of the space can be trained on a pool of this size."""
    if (largest := max(config.search.responses)) > max_responses:
        raise ConfigError(
            f"search.responses holds {largest}, but the pool's prompts have no more than {max_responses} "
            f"responses: leave {largest} out"
        )
    for choice in pilot(config.search):
        point_of(config, choice, max_prompts=max_prompts)
