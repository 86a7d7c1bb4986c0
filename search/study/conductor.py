"""What happens between two trials: the plan is asked; Optuna, ledger and terminal are told."""

from __future__ import annotations

import time
from dataclasses import replace
from operator import itemgetter
from statistics import fmean
from typing import Any

from search.config.cost import Split
from search.config.hyperparameters import shown
from search.execution.trial import TrialOutcome
from search.plan.belief import Belief
from search.plan.outlook import seconds_left, trials_left
from search.plan.plan import Plan
from search.plan.progress import Progress
from search.plan.proposals import Proposals
from search.plan.step import Step, Stop, Train, Wait
from search.study.ledger import Ledger
from search.terminal.display import Display
from search.terminal.live import Running, Standing
from search.trials.design_point import Point
from search.trials.record import TrialRecord


class Conductor:
    """Runs a plan: `next` says what to train, and is told what became of it. It knows nothing of Ray."""

    def __init__(self, plan: Plan, proposals: Proposals, ledger: Ledger, display: Display) -> None:
        self.plan, self._proposals, self._ledger, self._display = plan, proposals, ledger, display
        self.stopped: Stop | None = None
        self._running: dict[str, tuple[Point, float | None]] = {}  # and since when, by the monotonic clock
        self._failed: list[Point] = []
        proposals.restore(
            {key: (plan.space.known(o.point), o.record.reward) for key, o in ledger.outcomes.items()}
        )
        self._interrupted = [point for point in ledger.interrupted if proposals.holds(point)]
        self._ahead: Step | None = None
        self._waiting = False
        self._believed = ""

    @property
    def progress(self) -> Progress:
        """What the study has done so far."""
        return Progress(
            finished=[
                (self.plan.space.known(outcome.point), outcome.record)
                for outcome in list(self._ledger.outcomes.values())
            ],
            running=[point for point, _ in list(self._running.values())],
            failed=self._failed,
            interrupted=self._interrupted,
        )

    def standing(self, concurrent: int) -> Standing:
        """What the terminal shows of the study, `concurrent` trials running at a time; for any thread."""
        kept, now = self._ledger.outcomes, time.monotonic()
        running = [trial for key, trial in list(self._running.items()) if key not in kept]
        progress = replace(self.progress, running=[point for point, _ in running])
        elapsed = [0.0 if since is None else now - since for _, since in running]
        rewards: dict[str, list[float]] = {}
        for point, record in progress.finished:
            rewards.setdefault(point.label, []).extend(record.rewards)
        means = {label: fmean(found) for label, found in rewards.items()}
        return Standing(
            finished=len(progress.finished),
            failed=len(progress.failed),
            trials=len(progress.started) + trials_left(self.plan, progress),
            best=max(means.items(), key=itemgetter(1), default=None),
            base_reward=self._ledger.base_reward,
            belief=self._believed if len(progress.finished) > 1 else "",
            running=[
                Running(label=point.label, seeds=point.seeds, seconds=seconds)
                for (point, since), seconds in zip(running, elapsed, strict=True)
                if since is not None
            ],
            seconds_left=seconds_left(self.plan, progress, elapsed, concurrent),
        )

    @property
    def records(self) -> list[TrialRecord]:
        """The trials that answer the question of the split: those with the best setting."""
        return self.plan.records(self.progress)

    @property
    def reason(self) -> str:
        """Why the study stopped; empty while it runs."""
        return self.stopped.reason if self.stopped else ""

    def to_dict(self) -> dict[str, Any]:
        """As kept in study.json: why the study stopped, and the setting that its answer holds for."""
        decided = self.stopped is not None and self.stopped.decided
        return {
            "stopped": {"reason": self.reason, "decided": decided},
            "hyperparameters": dict(self.plan.hyperparameters(self.progress)),
        }

    def notes(self, recommended: Split) -> dict[str, str]:
        """What the report says of the search, beside the split that the fit recommends."""
        hyperparameters = self.plan.hyperparameters(self.progress)
        notes = {"why the study stopped": self.reason or "it was interrupted"}
        belief = self.stopped.belief if self.stopped else ""
        if isinstance(belief, Belief) and belief.best != recommended:
            notes["the search and the fit"] = (
                f"the search ended with {belief.best}, the fit recommends {recommended}: the search also "
                "counts how far a split's own trials lie off the models, and compares only the responses "
                "that were asked for"
            )
        if hyperparameters:
            left = sum(point.hyperparameters != hyperparameters for point, _ in self.progress.finished)
            notes["hyperparameters"] = (
                f"{', '.join(shown(dict(hyperparameters)))}; the best at one split, and {left} trials of other "
                "settings are left out of the fit"
            )
        return notes

    def look_ahead(self) -> bool:
        """Whether anything is left to train."""
        self._ahead = self.next()
        return not isinstance(self._ahead, Stop)

    def next(self) -> Step:
        """The step to take now; a point to train counts as running from here on."""
        if self._ahead is not None:
            step, self._ahead = self._ahead, None
            return step
        if self._waiting:
            return Wait()
        progress = self.progress
        step = self.plan.next(progress, self._proposals.propose)
        self._believed = self.plan.believed(progress)
        self._waiting = isinstance(step, Wait)
        if isinstance(step, Train):
            key = step.point.key(self._ledger.identity)
            self._running[key] = step.point, None
            self._ledger.planned(step.point)
            self._proposals.start(key, step.point)
            self._display.say(f"next {step.point.label}: {step.why}")
        if isinstance(step, Stop):
            self.stopped = step
            self._display.say(f"the study stops: {step.reason}")
        return step

    def started(self, point: Point) -> None:
        """The trial of `point` has begun."""
        self._running[point.key(self._ledger.identity)] = point, time.monotonic()
        self._ledger.started(point)

    def finished(self, outcome: TrialOutcome) -> None:
        """A trial has ended well."""
        self._ledger.finished(outcome)
        self._ended(outcome.record.trial, outcome.record.reward)

    def failed(self, point: Point, reason: str) -> None:
        """A trial has ended badly; the others go on."""
        self._ledger.failed(point, reason)
        self._failed.append(point)
        self._ended(point.key(self._ledger.identity), None)

    def _ended(self, key: str, reward: float | None) -> None:
        self._running.pop(key, None)
        self._waiting = False
        self._proposals.finish(key, reward)
