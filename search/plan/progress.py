"""TODO"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from search.trials.design_point import Point
from search.trials.record import TrialRecord

# A place that failed so often is given up until the next run.
FAILURES = 2


@dataclass(frozen=True)
class Progress:
    """What a study has done so far.

    `finished` are points with what they found, `failed` those that failed in this run, `interrupted` those
    that an earlier run had started and not finished.
    """

    finished: Sequence[tuple[Point, TrialRecord]] = ()
    running: Sequence[Point] = ()
    failed: Sequence[Point] = ()
    interrupted: Sequence[Point] = ()

    @cached_property
    def started(self) -> list[Point]:
        """Every point that was started, whatever became of it."""
        return [*(point for point, _ in self.finished), *self.running, *self.failed]

    @cached_property
    def seeds(self) -> dict[Point, set[int]]:
        """The seeds that each place was started with."""
        found: dict[Point, set[int]] = {}
        for point in self.started:
            found.setdefault(point.place, set()).update(point.seeds)
        return found

    @cached_property
    def given_up(self) -> set[Point]:
        """Places that failed so often that they are not tried again in this run."""
        failures = Counter(point.place for point in self.failed)
        return {place for place, count in failures.items() if count >= FAILURES}

    @cached_property
    def settled(self) -> set[Point]:
        """Places that are trained, in training, or given up."""
        done = [*(point for point, _ in self.finished), *self.running]
        return {point.place for point in done} | self.given_up

    def seeds_at(self, place: Point) -> int:
        """How often a place was trained to the end."""
        return sum(len(point.seeds) for point, _ in self.finished if point.place == place)
