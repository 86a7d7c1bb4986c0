"""Everything that is written down when something happens to a trial: folder, tracker, terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

from search.config import StudyConfig
from search.display import Display
from search.folder import StudyFolder
from search.record import TrialRecord
from search.space import Point, pilot, point_of
from search.tracking import Scalar, Status, StepPoint, Tracker
from search.trial import TrialOutcome
from search.trials_csv import write_trials
from trainers.spec import Prepared


class Ledger:
    """The study's book, kept in the driver. It observes the trials (`search.tuning.Observer`)."""

    def __init__(
        self, config: StudyConfig, folder: StudyFolder, display: Display, tracker: Tracker, *, identity: str
    ) -> None:
        self.config, self.folder, self.display, self.tracker = config, folder, display, tracker
        self.identity = identity
        self.outcomes = folder.outcomes()
        self.failures: dict[str, str] = {}
        self.base_reward: float | None = None
        self.reward_report: Mapping[str, Any] | None = None
        self._read_base()
        self._kept = frozenset(self.outcomes)
        self._open: dict[str, Point] = {}
        self._done = 0

    @property
    def records(self) -> list[TrialRecord]:
        """One record a point: what its repetitions found is pooled, so that each point is fitted once."""
        merged: dict[tuple[Any, ...], TrialRecord] = {}
        for outcome in self.outcomes.values():
            record = outcome.record
            name = (record.prompts, record.responses, record.selection, record.strength)
            merged[name] = _pooled(merged[name], record) if name in merged else record
        return sorted(merged.values(), key=lambda record: (record.cost, record.responses, record.selection))

    def complete(self, *, max_prompts: int) -> bool:
        """Whether the folder holds all that the study would run: the base model's reward and every trial.

        What Optuna would propose beyond the plan is not known without asking it.
        """
        plan, trials = pilot(self.config.search), self.config.search.trials
        points = (point_of(self.config, choice, max_prompts=max_prompts) for choice in plan[:trials])
        known = self.base_reward is not None and trials <= len(plan)
        return known and all(point.key(self.identity) in self.outcomes for point in points)

    def keep_base(self, prepared: Prepared) -> None:
        """Write down what is known before the first trial."""
        self.folder.write_json("base.json", {"identity": self.identity, **asdict(prepared)})
        self._read_base()

    def _read_base(self) -> None:
        kept = self.folder.read_json("base.json")
        if kept and kept["identity"] == self.identity:
            self.base_reward, self.reward_report = kept["base"]["reward"], kept["reward_report"]

    @contextmanager
    def study_run(self, params: Mapping[str, Scalar], tags: Mapping[str, str]) -> Iterator[None]:
        """The study's run in the tracker: closed as FINISHED, FAILED or, when interrupted, KILLED."""
        self.tracker.start_study(name=self.config.name, params=params, tags=tags)
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

    def started(self, choice: Mapping[str, Any]) -> None:
        """A trial is about to run; said only of those that are not kept from an earlier run."""
        point = self._point(choice)
        key = point.key(self.identity)
        if key in self._kept:
            return
        self._open[key] = point
        self.display.say(f"trial {point.label} started: {len(point.seeds)} seeds, spend {point.spend:g}")
        tags = {"study": self.config.name, "selection": point.selection}
        self.tracker.start_trial(key, params=_params(point), tags=tags, name=point.label)

    def finished(self, outcome: TrialOutcome) -> None:
        """A trial has ended well: keep it, before anything else."""
        record = outcome.record
        self._done += 1
        if record.trial in self._kept:
            return
        self.folder.save(outcome)
        self.outcomes[record.trial] = outcome
        self._open.pop(record.trial, None)
        write_trials(self.folder.path / "trials.csv", self.records)
        self.display.say(
            f"[{self._done}/{self.config.search.trials}] {outcome.point.label}: {_result(record)}"
        )
        for seed in outcome.seeds:
            self.tracker.log_steps(record.trial, _step_points(seed.seed, seed.history))
        self.tracker.finish_trial(record.trial, metrics=_metrics(record, self.base_reward), status="FINISHED")

    def failed(self, choice: Mapping[str, Any], reason: str) -> None:
        """A trial has ended badly; the others go on."""
        point = self._point(choice)
        key = point.key(self.identity)
        self._done += 1
        self._open.pop(key, None)
        self.failures[point.label] = reason
        self.display.say(f"[{self._done}/{self.config.search.trials}] {point.label} FAILED: {reason}")
        self.tracker.finish_trial(key, metrics={}, status="FAILED")

    def _point(self, choice: Mapping[str, Any]) -> Point:
        return point_of(self.config, choice, repeat=choice["repeat"])


def _pooled(one: TrialRecord, other: TrialRecord) -> TrialRecord:
    seeds = len(one.seeds), len(other.seeds)

    def mean(a: float, b: float) -> float:
        return (a * seeds[0] + b * seeds[1]) / sum(seeds)

    return replace(
        one,
        seeds=one.seeds + other.seeds,
        rewards=one.rewards + other.rewards,
        diversity=mean(one.diversity, other.diversity),
        rivals={name: mean(value, other.rivals[name]) for name, value in one.rivals.items()},
        domain_rewards={
            name: mean(value, other.domain_rewards[name]) for name, value in one.domain_rewards.items()
        },
        trained_tokens=one.trained_tokens + other.trained_tokens,
        seconds=one.seconds + other.seconds,
    )


def _params(point: Point) -> dict[str, Scalar]:
    """Numbers alone: MLflow's parallel coordinates leave out a parameter that is a word somewhere."""
    return {
        "prompts": point.prompts,
        "responses": point.responses,
        "spend": point.spend,
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
    metrics |= {f"rivals.{name}": value for name, value in record.rivals.items()}
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
