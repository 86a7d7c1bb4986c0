"""Everything that is written down when something happens to a trial: in the folder and in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from search.config.study import StudyConfig
from search.execution.trial import WORK, TrialOutcome
from search.study.folder import StudyFolder
from search.terminal.display import Display
from search.tracking.projection import Projection
from search.trials.attempts import Attempts
from search.trials.design_point import Point
from search.trials.record import TrialRecord, pooled
from search.trials.trials_csv import write_trials
from trainers.spec import Prepared, SeedResult
from trainers.workers.store import discard


class Ledger:
    """The study's book, kept in the driver. The conductor tells it of every trial."""

    def __init__(
        self,
        config: StudyConfig,
        folder: StudyFolder,
        display: Display,
        projection: Projection,
        attempts: Attempts,
    ) -> None:
        self.config, self.folder, self.display, self.projection = config, folder, display, projection
        self._attempts, self.identity = attempts, attempts.study
        self.checkpoints = folder.checkpoints
        self.outcomes = folder.outcomes()
        self.failures: dict[str, str] = {}
        self.base_reward: float | None = None
        self.reward_report: Mapping[str, Any] | None = None
        self._read_base()

    @property
    def records(self) -> list[TrialRecord]:
        """One record for each split, selection and setting, all its repetitions together."""
        return pooled(outcome.record for outcome in self.outcomes.values())

    @property
    def _count(self) -> str:
        return f"[{len(self.outcomes) + len(self.failures)}/{self.config.search.trials}]"

    def keep_base(self, prepared: Prepared) -> None:
        """Write down what is known before the first trial."""
        known = asdict(prepared)
        self.folder.keep_reward_model(known.pop("reward_artifact"))
        self.folder.write_json("base.json", {"identity": self.identity, **known})
        self._read_base()

    def _read_base(self) -> None:
        kept = self.folder.read_json("base.json")
        if kept and kept["identity"] == self.identity:
            self.base_reward, self.reward_report = kept["base"]["reward"], kept["reward_report"]

    def reward_lines(self) -> list[str]:
        """What a fitted reward model is worth, one figure a line; nothing where none was fitted."""
        shown = {
            name: f"{value:.3f}" if isinstance(value, float) else value
            for name, value in (self.reward_report or {}).items()
        }
        return [
            f"reward model {name.replace('_', ' ')}: {value}" for name, value in shown.items() if value != ""
        ]

    @property
    def interrupted(self) -> list[Point]:
        """What an earlier run had planned or started and not finished, in that order."""
        return [one.point for one in self._attempts.unfinished() if one.trial not in self.outcomes]

    def planned(self, point: Point) -> None:
        """A trial is the next to run."""
        self._attempts.planned(point.key(self.identity), point)

    def started(self, point: Point) -> None:
        """A trial is about to run."""
        self._attempts.started(point.key(self.identity), point)
        self.projection.changed()
        self.display.say(
            f"trial {point.label} started: {len(point.seeds)} seeds, budget fraction {point.budget_fraction:g}"
        )

    def seed_ended(self, trial: str, result: SeedResult) -> None:
        """One seed of a running trial has ended; called in another thread."""
        if self._attempts.seed_ended(trial, result):
            self.projection.changed()

    def finished(self, outcome: TrialOutcome) -> None:
        """A trial has ended well: keep it, before anything else."""
        record = outcome.record
        self.folder.save(outcome)
        self.outcomes[record.trial] = outcome
        self._attempts.ended(record.trial, "FINISHED")
        self.projection.changed()
        self._tidy(outcome)
        write_trials(self.folder.path / "trials.csv", self.records)
        self.display.say(f"{self._count} {outcome.point.label}: {_result(record)}")

    def _tidy(self, outcome: TrialOutcome) -> None:
        """Say what the trial's trainings have to say, and delete what a finished trial needs no longer."""
        for note in sorted({note for seed in outcome.seeds for note in seed.notes}):
            self.display.say(f"  {outcome.point.label}: {note}")
        if self.config.checkpoints.keep_policies == "best":
            self.folder.prune_policies(self.outcomes.values())
        try:
            discard(self.checkpoints, f"{WORK}{outcome.record.trial}")
        except OSError as error:
            self.display.say(f"  its checkpoints could not be deleted from {self.checkpoints}: {error}")

    def failed(self, point: Point, reason: str) -> None:
        """A trial has ended badly; the others go on."""
        key = point.key(self.identity)
        self._attempts.ended(key, "FAILED")
        self.projection.changed()
        self.failures[point.label] = reason
        self.display.say(f"{self._count} {point.label} FAILED: {reason}")


def _result(record: TrialRecord) -> str:
    noise = "" if record.reward_se is None else f" ± {record.reward_se:.4f}"
    return f"reward {record.reward:.4f}{noise}, diversity {record.diversity:.3f}, {record.seconds:.0f} s"
