"""Runs the plan step by step and reports each step to Optuna, the ledger and the terminal."""

from __future__ import annotations

import time
from dataclasses import replace
from operator import itemgetter
from statistics import fmean
from typing import Any

from search.config.cost import Split
from search.config.hyperparameters import shown
from search.plan.belief import Belief
from search.plan.outlook import seconds_left, trials_left
from search.plan.plan import Plan
from search.plan.progress import Progress
from search.plan.proposals import Proposals
from search.plan.step import Step, Stop, Train, Wait
from search.plan.transfer import TransferPlan
from search.plan.tuning import TunedAt
from search.study.ledger import Ledger
from search.terminal.display import Display
from search.terminal.live import Running, Standing
from search.trials.design_point import DesignPoint, Trial
from search.trials.record import TrialRecord


class Conductor:
    """Runs a plan: `next` is the step to take, and each trial's outcome is passed in. Independent of Ray."""

    def __init__(self, plan: Plan, proposals: Proposals, ledger: Ledger, display: Display) -> None:
        self.transfer = TransferPlan(plan)
        self.plan, self._proposals, self._ledger, self._display = plan, proposals, ledger, display
        self.stopped: Stop | None = None
        self._running: dict[str, tuple[Trial, float | None]] = {}  # and since when, by the monotonic clock
        self._failed: list[Trial] = []
        known = [*(record for record in self._ledger.earlier if not record.group), *self._finished()]
        proposals.restore({r.trial: (Trial(r.point, r.seeds), r.reward) for r in known})
        self._interrupted = [trial for trial in ledger.interrupted if proposals.holds(trial.point)]
        self._ahead: Step | None = None
        self._waiting = False
        self._believed = ""

    @property
    def progress(self) -> Progress:
        """What the study's own search has done so far."""
        return Progress(
            finished=self._finished(),
            running=[trial for trial, _ in list(self._running.values()) if not trial.point.transfer],
            failed=[trial for trial in self._failed if not trial.point.transfer],
            interrupted=self._interrupted,
            earlier=self._ledger.earlier,
        )

    @property
    def elsewhere(self) -> Progress:
        """What has been done under other settings."""
        return Progress(
            finished=list(self._ledger.transferred.values()),
            running=[trial for trial, _ in list(self._running.values()) if trial.point.transfer],
            failed=[trial for trial in self._failed if trial.point.transfer],
        )

    def standing(self, concurrent: int) -> Standing:
        """What the terminal shows of the study, `concurrent` trials running at a time; for any thread."""
        kept = self._ledger.finished_trials.keys() | self._ledger.transferred.keys()
        now, elsewhere = time.monotonic(), self.elsewhere
        running = [one for key, one in list(self._running.items()) if key not in kept]
        own = [(trial, since) for trial, since in running if not trial.point.transfer]
        progress = replace(self.progress, running=[trial for trial, _ in own])
        elapsed = [0.0 if since is None else now - since for _, since in running]
        rewards: dict[str, list[float]] = {}
        for record in progress.known:
            rewards.setdefault(record.point.label, []).extend(record.rewards)
        means = {label: fmean(found) for label, found in rewards.items()}
        return Standing(
            finished=len(progress.finished) + len(elsewhere.finished),
            failed=len(progress.failed) + len(elsewhere.failed),
            trials=len(progress.started)
            + trials_left(self.plan, progress)
            + self._elsewhere_at_most(elsewhere),
            best=max(means.items(), key=itemgetter(1), default=None),
            base_reward=self._ledger.base_reward,
            belief=self._believed if len(progress.known) > 1 else "",
            running=[
                Running(label=trial.label, seeds=trial.seeds, seconds=seconds)
                for (trial, since), seconds in zip(running, elapsed, strict=True)
                if since is not None
            ],
            # Under another model or length of training a trial takes another time.
            seconds_left=None
            if self.transfer.settings
            else seconds_left(self.plan, progress, elapsed, concurrent),
        )

    def _elsewhere_at_most(self, elsewhere: Progress) -> int:
        return len(elsewhere.started) + self.transfer.left(elsewhere)

    @property
    def records(self) -> list[TrialRecord]:
        """The trials that answer the question of the split: those with the best hyperparameters."""
        return self.plan.records(self.progress)

    @property
    def tuned(self) -> list[TunedAt]:
        """The splits that were tuned apart and judged."""
        return self.plan.tuning(self.progress).found()

    @property
    def reason(self) -> str:
        """Why the study stopped; empty while it runs."""
        return self.stopped.reason if self.stopped else ""

    def to_dict(self) -> dict[str, Any]:
        """As kept in study.json: why the study stopped, and the hyperparameters that its answer holds for."""
        decided = self.stopped is not None and self.stopped.decided
        return {
            "stopped": {"reason": self.reason, "decided": decided},
            "hyperparameters": dict(self.plan.hyperparameters(self.progress)),
        }

    def notes(self, recommended: Split) -> dict[str, str]:
        """What the report says of the search, beside the split that the fit recommends."""
        best = self.plan.hyperparameters(self.progress)
        notes = {"why the study stopped": self.reason or "it was interrupted"}
        belief = self.stopped.belief if self.stopped else None
        if isinstance(belief, Belief) and belief.best != recommended:
            notes["the search and the fit"] = (
                f"the search ended with {belief.best}, the fit recommends {recommended}: the search also "
                "counts how far a split's own trials lie off the models, and compares only the responses "
                "that were asked for"
            )
        if best and self.plan.per_split:
            notes["hyperparameters"] = (
                f"{', '.join(shown(dict(best)))}, the best at one split, wherever no other is named; trials "
                "with them at a number of responses with a best of its own count as a group that lies higher "
                "or lower"
            )
        elif best:
            left = sum(record.point.hyperparameters != best for record in self.progress.finished)
            notes["hyperparameters"] = (
                f"{', '.join(shown(dict(best)))}; the best at one split, and {left} trials with other "
                "hyperparameters are left out of the fit"
            )
        return notes

    def look_ahead(self) -> bool:
        """Whether anything is left to train."""
        self._ahead = self.next()
        return not isinstance(self._ahead, Stop)

    def next(self) -> Step:
        """The step to take now; a trial to train counts as running from here on."""
        if self._ahead is not None:
            step, self._ahead = self._ahead, None
            return step
        if self._waiting:
            return Wait()
        progress = self.progress
        step = self.plan.next(progress, self._proposals.propose)
        self._believed = self.plan.belief(progress).sentence()
        if isinstance(step, Stop):
            self._stop(step)
            step = self.transfer.next(progress, self.elsewhere) or step
        self._waiting = isinstance(step, Wait)
        if isinstance(step, Train):
            key = step.trial.key(self._ledger.identity)
            self._running[key] = step.trial, None
            self._ledger.planned(step.trial)
            if not step.trial.point.transfer:
                self._proposals.start(key, step.trial)
            self._display.say(f"next {step.trial.label}: {step.why}")
        return step

    def _stop(self, step: Stop) -> None:
        """The study's own search is over; said once, for trials under other settings may follow."""
        if self.stopped is None:
            self._display.say(f"the study stops: {step.reason}")
        self.stopped = step

    def mend(self) -> None:
        """The study has ended: bring Optuna's database in line where it has failed meanwhile."""
        self._proposals.mend()

    def started(self, trial: Trial) -> None:
        """The trial has begun."""
        self._running[trial.key(self._ledger.identity)] = trial, time.monotonic()
        self._ledger.started(trial)

    def finished(self, record: TrialRecord) -> None:
        """A trial has ended well."""
        self._ledger.finished(record)
        self._ended(record.trial, record.point, record.reward)

    def failed(self, trial: Trial, reason: str) -> None:
        """A trial has ended badly; the others go on."""
        self._ledger.failed(trial, reason)
        self._failed.append(trial)
        self._ended(trial.key(self._ledger.identity), trial.point, None)

    def _finished(self) -> list[TrialRecord]:
        """The finished trials, with the hyperparameters that the study's space knows them by."""
        records = list(self._ledger.finished_trials.values())
        return [replace(record, point=self.plan.space.known(record.point)) for record in records]

    def _ended(self, key: str, point: DesignPoint, reward: float | None) -> None:
        self._running.pop(key, None)
        self._waiting = False
        if not point.transfer:
            self._proposals.finish(key, reward)
