"""What is written when something happens to a trial: to the folder, the tracker, the terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from search.config.study import StudyConfig
from search.study.folder import StudyFolder, saved_policies
from search.terminal.display import Display
from search.tracking.tracker import Scalar, Status, StepPoint, Tracker
from search.trials.design_point import Trial
from search.trials.record import TrialRecord, pooled
from search.trials.trials_csv import write_trials
from trainers.spec import Prepared
from trainers.training.telemetry import summed
from trainers.workers.store import discard

RESULTS = ("recommendation.json", "fit.json", "trials.csv", "report.html", "plots", "config.yaml")


class Ledger:
    """Persists every trial in the study's folder, and shows it in the terminal and the tracker."""

    def __init__(
        self, config: StudyConfig, folder: StudyFolder, display: Display, tracker: Tracker, *, identity: str
    ) -> None:
        self.config, self.folder, self.display, self.tracker = config, folder, display, tracker
        self.identity = identity
        self.finished_trials = folder.records()
        self.failures: dict[str, str] = {}
        self.base_reward: float | None = None
        self.reward_report: Mapping[str, Any] | None = None
        self._read_base()
        self._open: dict[str, Trial] = {}

    @property
    def records(self) -> list[TrialRecord]:
        """One record for each split, draw and hyperparameters, all repetitions together."""
        return pooled(self.finished_trials.values())

    @property
    def _count(self) -> str:
        return f"[{len(self.finished_trials) + len(self.failures)}/{self.config.search.trials}]"

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

    def reward_notes(self) -> dict[str, str]:
        """What a fitted reward model is worth, by name; nothing where none was fitted."""
        return {
            f"reward model {name.replace('_', ' ')}": f"{value:.3f}"
            if isinstance(value, float)
            else str(value)
            for name, value in (self.reward_report or {}).items()
            if value != ""
        }

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
        """Close the runs of the trials that a killed study left open in the tracker."""
        for key in self.tracker.unfinished():
            if key in self.finished_trials:
                self._track(self.finished_trials[key])
            else:
                self.tracker.finish_trial(key, metrics={}, status="KILLED")

    def started(self, trial: Trial) -> None:
        """A trial is about to run."""
        key, point = trial.key(self.identity), trial.point
        self._open[key] = trial
        spent = f"budget fraction {point.budget_fraction:g}"
        self.display.say(f"trial {trial.label} started: {len(trial.seeds)} seeds, {spent}")
        words = {name: value for name, value in point.hyperparameters if isinstance(value, str)}
        tags = {"study": self.config.name, "selection": point.selection, **words}
        self.tracker.start_trial(key, params=_params(trial), tags=tags, name=trial.label)

    def finished(self, record: TrialRecord) -> None:
        """A trial has ended well: keep it, before anything else."""
        self.folder.save(record)
        self.finished_trials[record.trial] = record
        self._tidy(record)
        self._open.pop(record.trial, None)
        write_trials(self.folder.path / "trials.csv", self.records)
        self.display.say(f"{self._count} {record.point.label}: {_result(record)}")
        self._track(record)

    def failed(self, trial: Trial, reason: str) -> None:
        """A trial has ended badly; the others go on."""
        key = trial.key(self.identity)
        self._open.pop(key, None)
        self.failures[trial.label] = reason
        self.display.say(f"{self._count} {trial.label} FAILED: {reason}")
        self.tracker.finish_trial(key, metrics={}, status="FAILED")

    def _track(self, record: TrialRecord) -> None:
        """Show a finished trial in the tracker."""
        for result in record.results:
            self.tracker.log_steps(record.trial, _step_points(result.seed, result.history))
        telemetry = summed(result.telemetry for result in record.results)
        metrics = _metrics(record, self.base_reward) | telemetry
        self.tracker.finish_trial(record.trial, metrics=metrics, status="FINISHED")

    def publish(self) -> None:
        """Register the best policy, where the configuration asks for it, and log the results as artifacts."""
        name, saved = self.config.tracking.register_as, saved_policies(self.finished_trials.values())
        if name and saved:
            trial, policy = saved[-1]
            self.tracker.register_policy(policy, key=trial, name=name)
        for result in RESULTS:
            self.tracker.log_artifact(self.folder.path / result)

    def _tidy(self, record: TrialRecord) -> None:
        """Show the notes of the trial's trainings, and delete what a finished trial no longer needs."""
        for note in sorted({note for result in record.results for note in result.notes}):
            self.display.say(f"  {record.point.label}: {note}")
        if self.config.checkpoints.keep_policies == "best":
            self.folder.prune_policies(self.finished_trials.values())
        checkpoints = self.folder.checkpoints
        try:
            discard(checkpoints, f"trial-{record.trial}")
        except OSError as error:
            self.display.say(f"  its checkpoints could not be deleted from {checkpoints}: {error}")


def _params(trial: Trial) -> dict[str, Scalar]:
    """Numbers alone: MLflow's parallel coordinates leave out a parameter that is a word somewhere."""
    point = trial.point
    numbers = {name: value for name, value in point.hyperparameters if not isinstance(value, str)}
    return {
        **numbers,
        "prompts": point.prompts,
        "responses": point.responses,
        "budget_fraction": point.budget_fraction or 0.0,
        "strength": point.strength,
        "seeds": len(trial.seeds),
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
    metrics |= {f"baseline.{name}": value for name, value in record.baselines.items()}
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
