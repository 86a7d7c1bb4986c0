"""Everything that is written down when something happens to a trial: folder, tracker, terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from search.config.study import StudyConfig
from search.execution.trial import TrialOutcome
from search.study.folder import StudyFolder, saved_policies
from search.terminal.display import Display
from search.tracking.tracker import Scalar, Status, StepPoint, Tracker
from search.trials.design_point import Point
from search.trials.record import TrialRecord, pooled
from search.trials.trials_csv import write_trials
from trainers.spec import Prepared
from trainers.training.telemetry import summed
from trainers.workers.store import discard


class Ledger:
    """The study's book, kept in the driver. The conductor tells it of every trial."""

    def __init__(
        self, config: StudyConfig, folder: StudyFolder, display: Display, tracker: Tracker, *, identity: str
    ) -> None:
        self.config, self.folder, self.display, self.tracker = config, folder, display, tracker
        self.identity = identity
        self.checkpoints = folder.checkpoints
        self.outcomes = folder.outcomes()
        self.failures: dict[str, str] = {}
        self.base_reward: float | None = None
        self.reward_report: Mapping[str, Any] | None = None
        self._read_base()
        self._open: dict[str, Point] = {}

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

    @contextmanager
    def study_run(self, params: Mapping[str, Scalar], tags: Mapping[str, str]) -> Iterator[None]:
        """The study's run in the tracker: closed as FINISHED, FAILED or, when interrupted, KILLED."""
        self.tracker.start_study(name=self.config.name, params=params, tags=tags)
        self._catch_up()
        status: Status = "FAILED"
        try:
            yield
            status = "FINISHED"
        except (KeyboardInterrupt, SystemExit):
            status = "KILLED"
            raise
        finally:
            for key in list(self._open):
                self.tracker.finish_trial(key, metrics={}, status="KILLED")
            metrics = {} if self.base_reward is None else {"base_reward": self.base_reward}
            self.tracker.finish_study(metrics=metrics, status=status)
            self.tracker.close(self.config.tracking.close_timeout)

    def _catch_up(self) -> None:
        """Tell the tracker what became of the trials that a killed study left open there."""
        for key in self.tracker.unfinished():
            if key in self.outcomes:
                self._tell(self.outcomes[key])
            else:
                self.tracker.finish_trial(key, metrics={}, status="KILLED")

    def started(self, point: Point) -> None:
        """A trial is about to run."""
        key = point.key(self.identity)
        self._open[key] = point
        self.display.say(
            f"trial {point.label} started: {len(point.seeds)} seeds, budget fraction {point.budget_fraction:g}"
        )
        words = {name: value for name, value in point.hyperparameters if isinstance(value, str)}
        tags = {"study": self.config.name, "selection": point.selection, **words}
        self.tracker.start_trial(key, params=_params(point), tags=tags, name=point.label)

    def finished(self, outcome: TrialOutcome) -> None:
        """A trial has ended well: keep it, before anything else."""
        record = outcome.record
        self.folder.save(outcome)
        self.outcomes[record.trial] = outcome
        self._tidy(outcome)
        self._open.pop(record.trial, None)
        write_trials(self.folder.path / "trials.csv", self.records)
        self.display.say(f"{self._count} {outcome.point.label}: {_result(record)}")
        self._tell(outcome)

    def _tell(self, outcome: TrialOutcome) -> None:
        """The tracker's part of a finished trial."""
        record = outcome.record
        for seed in outcome.seeds:
            self.tracker.log_steps(record.trial, _step_points(seed.seed, seed.history))
        metrics = _metrics(record, self.base_reward) | summed(seed.telemetry for seed in outcome.seeds)
        self.tracker.finish_trial(record.trial, metrics=metrics, status="FINISHED")

    def register_best(self) -> None:
        """Hand the best policy to the tracker's model registry, where the configuration asks for it."""
        name, saved = self.config.tracking.register_as, saved_policies(self.outcomes.values())
        if name and saved:
            trial, policy = saved[-1]
            self.tracker.register_policy(policy, key=trial, name=name)

    def _tidy(self, outcome: TrialOutcome) -> None:
        """Say what the trial's trainings have to say, and delete what a finished trial needs no longer."""
        for note in sorted({note for seed in outcome.seeds for note in seed.notes}):
            self.display.say(f"  {outcome.point.label}: {note}")
        if self.config.checkpoints.keep_policies == "best":
            self.folder.prune_policies(self.outcomes.values())
        try:
            discard(self.checkpoints, f"trial-{outcome.record.trial}")
        except OSError as error:
            self.display.say(f"  its checkpoints could not be deleted from {self.checkpoints}: {error}")

    def failed(self, point: Point, reason: str) -> None:
        """A trial has ended badly; the others go on."""
        key = point.key(self.identity)
        self._open.pop(key, None)
        self.failures[point.label] = reason
        self.display.say(f"{self._count} {point.label} FAILED: {reason}")
        self.tracker.finish_trial(key, metrics={}, status="FAILED")


def _params(point: Point) -> dict[str, Scalar]:
    """Numbers alone: MLflow's parallel coordinates leave out a parameter that is a word somewhere."""
    numbers = {name: value for name, value in point.hyperparameters if not isinstance(value, str)}
    return {
        **numbers,
        "prompts": point.prompts,
        "responses": point.responses,
        "budget_fraction": point.budget_fraction,
        "strength": point.strength,
        "seeds": len(point.seeds),
    }


def _metrics(record: TrialRecord, base_reward: float | None) -> dict[str, float]:
    metrics = {
        "reward": record.reward,
        "diversity": record.diversity,
        "cost": record.cost,
        "seconds": record.seconds,
    }
    if record.reward_se is not None:
        metrics["reward_se"] = record.reward_se
    if base_reward is not None:
        metrics["lift"] = record.reward - base_reward
    metrics |= {f"rivals.{name}": value for name, value in record.baselines.items()}
    return metrics | {f"domain.{name}": value for name, value in record.domain_rewards.items()}


def _step_points(seed: int, history: Any) -> list[StepPoint]:
    now = int(time.time() * 1000)
    return [
        StepPoint(
            step=int(row["step"]),
            metrics={f"seed_{seed}.{name}": value for name, value in row.items() if name != "step"},
            timestamp_ms=now,
        )
        for row in history
    ]


def _result(record: TrialRecord) -> str:
    noise = "" if record.reward_se is None else f" ± {record.reward_se:.4f}"
    return f"reward {record.reward:.4f}{noise}, diversity {record.diversity:.3f}, {record.seconds:.0f} s"
