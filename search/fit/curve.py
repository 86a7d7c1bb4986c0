"""Diversity as a function of the number of prompts, for prompts drawn at random."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import exp, log
from typing import Any

import numpy as np

from base.errors import InsufficientDataError
from search.trials.record import TrialRecord

# Heaps' law is fitted to the last stretch alone, where the exponent has settled: prompts from a quarter on.
TAIL = 4


@dataclass(frozen=True)
class DiversityCurve:
    """D measured at increasing numbers of prompts of one shuffled order (random selection)."""

    prompts: tuple[int, ...]
    diversity: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.prompts or len(self.prompts) != len(self.diversity):
            raise InsufficientDataError(
                "a diversity curve needs as many diversities as numbers of prompts, at least one"
            )
        if any(b <= a for a, b in zip(self.prompts, self.prompts[1:], strict=False)) or self.prompts[0] < 1:
            raise InsufficientDataError(
                f"numbers of prompts must be positive and increase; got {self.prompts}"
            )

    @classmethod
    def from_trials(cls, records: Iterable[TrialRecord]) -> DiversityCurve:
        """The curve through the random trials' own diversities: all that a CSV of trials holds."""
        seen: dict[int, list[float]] = {}
        for record in records:
            if record.selection == "random":
                seen.setdefault(record.prompts, []).append(record.diversity)
        if not seen:
            raise InsufficientDataError(
                "no trial drew its prompts at random, so diversity at other sizes is unknown: "
                "run trials with selection random, or hand over the pool's diversity curve"
            )
        sizes = sorted(seen)
        return cls(tuple(sizes), tuple(float(np.mean(seen[n])) for n in sizes))

    def at(self, prompts: float) -> float:
        """D, interpolated in log prompts; past either end by Heaps' law.

        Distinct bigrams grow as prompts**b (Heaps), so D = sqrt(n) x distinct / all grows as n**(b - 1/2).
        """
        low, high = self.prompts[0], self.prompts[-1]
        if low <= prompts <= high:
            return float(np.interp(log(prompts), np.log(self.prompts), self.diversity))
        edge, slope = (high, self.growth) if prompts > high else (low, self._early_growth)
        start = self.diversity[-1] if prompts > high else self.diversity[0]
        return start * exp(slope * (log(prompts) - log(edge)))

    @cached_property
    def growth(self) -> float:
        """d log D / d log n over the last stretch, Heaps' exponent minus 1/2; negative where D falls."""
        tail = [i for i, n in enumerate(self.prompts) if n * TAIL >= self.prompts[-1]]
        return self._slope(tail if len(tail) > 1 else range(max(0, len(self.prompts) - 2), len(self.prompts)))

    @cached_property
    def _early_growth(self) -> float:
        return self._slope(range(min(2, len(self.prompts))))

    def _slope(self, where: Iterable[int]) -> float:
        chosen = list(where)
        if len(chosen) < 2:
            return 0.0
        n, d = np.log(np.take(self.prompts, chosen)), np.log(np.take(self.diversity, chosen))
        return float(np.polyfit(n, d, 1)[0])

    def to_dict(self) -> dict[str, Any]:
        """As kept in a study's curve.json."""
        return {"prompts": list(self.prompts), "diversity": list(self.diversity)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DiversityCurve:
        """The inverse of `to_dict`."""
        return cls(tuple(int(n) for n in data["prompts"]), tuple(float(d) for d in data["diversity"]))
