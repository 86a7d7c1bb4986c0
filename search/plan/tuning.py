"""Hyperparameters per split: what is compared at each contender, and which trials then judge the best of it.

A contender's hyperparameters are chosen by their mean reward over the study's first seeds, and the best of
several noisy means flatters. So these seeds choose and no more: the chosen hyperparameters are judged by
further seeds, and at a tuned split the fit sees those alone. Trials with as many responses and the
hyperparameters that were tuned once lie higher or lower by one amount, which the fit estimates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TypeAlias

from search.config.cost import Split
from search.config.hyperparameters import shown
from search.plan.progress import Progress
from search.plan.space import Space
from search.trials.design_point import DesignPoint, Hyperparameters
from search.trials.record import TrialRecord, pooled

Labels: TypeAlias = tuple[int, int | None]  # responses, raters


@dataclass(frozen=True)
class Tuned:
    """The hyperparameters that were best at `point`'s split, by the seeds that choose."""

    point: DesignPoint
    best: Hyperparameters


@dataclass(frozen=True, kw_only=True)
class TunedAt:
    """A tuned split: rewards of its best hyperparameters by the seeds that judge them, and of those that were
    tuned `once` by the seeds that chose."""

    split: Split
    best: Hyperparameters
    rewards: tuple[float, ...]
    once: tuple[float, ...]


class SplitTuning:
    """What has been tuned split by split; `once` are the hyperparameters that were tuned at one split."""

    def __init__(self, space: Space, progress: Progress, once: Hyperparameters) -> None:
        search = space.config.search
        self._space, self._progress, self.once = space, progress, once
        self._count = search.hyperparameter_trials
        self._choosing = frozenset(range(space.config.seed, space.config.seed + search.seeds))
        self._tuned = {labels: found for labels in space.labels if (found := self._of(labels))}

    def own(self, labels: Labels) -> Hyperparameters:
        """The hyperparameters for so many responses and raters: their own best, once they are tuned."""
        return self._tuned[labels].best if labels in self._tuned else self.once

    def done(self, labels: Labels) -> bool:
        """Whether as many hyperparameters as are asked for were compared there."""
        return labels in self._tuned

    def point(self, labels: Labels) -> DesignPoint:
        """Where they are compared: at the whole budget; with the hyperparameters that were tuned once."""
        responses, raters = labels
        return self._space.point(responses, self._space.whole(responses, raters), None, self.once, raters)

    def tried(self, labels: Labels) -> set[Hyperparameters]:
        """What was started there."""
        at, everything = self.point(labels), [*self._progress.started, *self._progress.known]
        return {one.point.hyperparameters for one in everything if _same_split(one.point, at)}

    def running(self, labels: Labels) -> bool:
        """Whether a trial that chooses has not ended there."""
        at = self.point(labels)
        return any(
            _same_split(trial.point, at) and self._choosing & set(trial.seeds)
            for trial in self._progress.running
        )

    def judging(self, record: TrialRecord) -> TrialRecord:
        """`record` without the seeds that chose, at a split that is tuned."""
        tuned = self._tuned.get((record.responses, record.point.raters))
        if tuned is None or not _same_split(record.point, tuned.point):
            return record
        return replace(record, results=tuple(r for r in record.results if r.seed not in self._choosing))

    def choosing(self, record: TrialRecord) -> TrialRecord:
        """`record` with the seeds that choose alone."""
        return replace(record, results=tuple(r for r in record.results if r.seed in self._choosing))

    def records(self) -> list[TrialRecord]:
        """The trials that compare splits at their own best, pooled; those tuned once as groups of their own.

        A number of responses whose best has not been judged yet stays with what was tuned once.
        """
        everything = [*self._progress.earlier, *self._progress.finished]
        judged = {labels: found for labels, found in self._tuned.items() if self._is_judged(found)}
        kept = []
        for record in everything:
            labels = record.responses, record.point.raters
            best = judged[labels].best if labels in judged else self.once
            used = self.judging(record) if labels in judged else record
            if record.group or record.point.hyperparameters == best:
                kept.append(used)
            elif record.point.hyperparameters == self.once:
                kept.append(replace(used, group=_group(self.once, labels)))
        return pooled(record for record in kept if record.results)

    def found(self) -> list[TunedAt]:
        """The splits that were tuned and judged."""
        return [
            TunedAt(
                split=tuned.point.split,
                best=tuned.best,
                rewards=_rewards(map(self.judging, self.at(tuned.point, tuned.best))),
                once=_rewards(map(self.choosing, self.at(tuned.point, self.once))),
            )
            for tuned in self._tuned.values()
            if self._is_judged(tuned)
        ]

    def at(self, point: DesignPoint, hyperparameters: Hyperparameters) -> list[TrialRecord]:
        """The study's trials of `point`'s split with these hyperparameters."""
        return [
            record
            for record in self._progress.known
            if _same_split(record.point, point) and record.point.hyperparameters == hyperparameters
        ]

    def _is_judged(self, tuned: Tuned) -> bool:
        return any(self.judging(record).results for record in self.at(tuned.point, tuned.best))

    def _of(self, labels: Labels) -> Tuned | None:
        """The best there; None while fewer than asked for were compared."""
        tried = self.tried(labels)
        if len(tried) < self._count or self.running(labels):
            return None
        rewards = self._chosen(labels, tried)
        best = max(rewards, key=lambda one: (rewards[one], one == self.once), default=self.once)
        return Tuned(self.point(labels), best)

    def _chosen(self, labels: Labels, tried: set[Hyperparameters]) -> Mapping[Hyperparameters, float]:
        """Mean reward of each over the seeds that choose; without those that have not ended there."""
        found = {}
        for one in tried:
            records = [self.choosing(record) for record in self.at(self.point(labels), one)]
            if rewards := [reward for record in records for reward in record.rewards]:
                found[one] = fmean(rewards)
        return found


def _rewards(records: Iterable[TrialRecord]) -> tuple[float, ...]:
    return tuple(reward for record in records for reward in record.rewards)


def _group(once: Hyperparameters, labels: Labels) -> str:
    raters = "" if labels[1] is None else f" and {labels[1]} raters"
    return f"{', '.join(shown(dict(once)))} at {labels[0]} responses{raters}"


def _same_split(one: DesignPoint, other: DesignPoint) -> bool:
    return (one.split, one.draw) == (other.split, other.draw)
