"""One rater's answer to one task, whatever tool it was given in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

CANNOT_JUDGE = "cannot judge"


@dataclass(frozen=True)
class Rating:
    """What a rater said of the responses of a task, by their indices in the order shown, from 0.

    `values` are ranks (1 the best, equal for ties) or ratings (more is better), as `measure` says; empty
    where the rater could not judge. `rater` is who the tool says it was (None: it does not say), `at` when,
    `location` where it stands in the file, `seconds` how long it took.
    """

    task: str
    values: Mapping[int, float]
    measure: Literal["rank", "rating"] = "rank"
    rater: str | None = None
    seconds: float | None = None
    at: str = ""
    note: str = field(default="", compare=False)
    location: str = field(default="", compare=False)


def ranks_by_place(order: Mapping[int, float]) -> dict[int, float]:
    """The same order as ranks from 1 without gaps: {0: 3, 1: 5, 2: 3} gives {0: 1, 1: 2, 2: 1}."""
    levels = {value: rank for rank, value in enumerate(sorted(set(order.values())), 1)}
    return {index: float(levels[value]) for index, value in order.items()}
