"""What a study has done so far: all that a plan's decisions depend on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from search.trials.design_point import DesignPoint, Trial
from search.trials.record import TrialRecord

# A point that failed so often is given up until the next run.
FAILURES = 2


@dataclass(frozen=True)
class Progress:
    """`finished` are records of trials, `failed` the trials that failed in this run, `interrupted` those that
    an earlier run had started and not finished. `earlier` are records of trials that were trained elsewhere:
    they are known, and use up none of the study's limits."""

    finished: Sequence[TrialRecord] = ()
    running: Sequence[Trial] = ()
    failed: Sequence[Trial] = ()
    interrupted: Sequence[Trial] = ()
    earlier: Sequence[TrialRecord] = ()

    @cached_property
    def known(self) -> list[TrialRecord]:
        """Every finished trial, wherever it was trained; without those whose rewards are not comparable."""
        return [*(record for record in self.earlier if not record.group), *self.finished]

    @cached_property
    def started(self) -> list[Trial]:
        """Every trial that was started, whatever became of it."""
        return [*(Trial(r.point, r.seeds) for r in self.finished), *self.running, *self.failed]

    @cached_property
    def seeds(self) -> dict[DesignPoint, set[int]]:
        """The seeds that each point was started with, here or elsewhere."""
        found: dict[DesignPoint, set[int]] = {}
        for trial in [*(Trial(r.point, r.seeds) for r in self.known), *self.started]:
            found.setdefault(trial.point, set()).update(trial.seeds)
        return found

    def has(self, trial: Trial) -> bool:
        """Whether every training of the trial was started, here or elsewhere."""
        return self.seeds.get(trial.point, set()).issuperset(trial.seeds)

    @cached_property
    def given_up(self) -> set[DesignPoint]:
        """Points that failed so often that they are not tried again in this run."""
        failures = Counter(trial.point for trial in self.failed)
        return {point for point, count in failures.items() if count >= FAILURES}

    @cached_property
    def settled(self) -> set[DesignPoint]:
        """Points that are trained, in training, or given up."""
        trained = {record.point for record in self.known}
        return trained | {trial.point for trial in self.running} | self.given_up

    def seeds_at(self, point: DesignPoint) -> int:
        """How often a point was trained to the end."""
        return sum(len(record.results) for record in self.known if record.point == point)
