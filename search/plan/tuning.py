"""Hyperparameters per split: where they are compared, and which trials then judge the best of them.

They are compared at *sites*, cheap ones first: where a study tunes once, then at the smallest budget fraction
of each other number of responses that the pilot tries, and last at the whole budget of those that have become
contenders. A number of responses has the best of its last site; one without a site has the nearest one's.

Hyperparameters are chosen by their mean reward over the study's first seeds, and the best of several noisy
means flatters. So at a site these seeds choose and no more: further seeds judge. Trials with the
hyperparameters of an earlier site lie higher or lower by one amount, which the fit estimates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import log
from statistics import fmean
from typing import TypeAlias

from search.config.cost import Labelling, Split
from search.config.hyperparameters import Scalar, shown
from search.plan.pilot import anchor, pilot
from search.plan.progress import Progress
from search.plan.space import Space
from search.trials.design_point import DesignPoint, Hyperparameters
from search.trials.record import TrialRecord, pooled

Labelled: TypeAlias = tuple[int, Labelling]  # responses, and how they are labelled


@dataclass(frozen=True, kw_only=True)
class TunedAt:
    """A contender's split: rewards of its best hyperparameters by the seeds that judge them, and of those
    that were tuned `once` by the seeds that chose."""

    split: Split
    best: Hyperparameters
    rewards: tuple[float, ...]
    once: tuple[float, ...]


class SplitTuning:
    """What has been tuned split by split; `once` are the hyperparameters that were tuned at one split.

    `count` of them are compared at each site.
    """

    def __init__(self, space: Space, progress: Progress, once: Hyperparameters) -> None:
        search = space.config.search
        self._space, self._progress, self.once = space, progress, once
        most = len(space.combinations) or search.hyperparameter_trials
        self.count = min(search.hyperparameter_trials, most)
        self._choosing = frozenset(range(space.config.seed, space.config.seed + search.seeds))

    @cached_property
    def cheap(self) -> dict[int, DesignPoint]:
        """The cheap site of each number of responses that has one, where the study tunes once first."""
        first = anchor(self._space)
        levels = sorted({point.responses for point in pilot(self._space, self.once)} - {first.responses})
        others = {k: self._space.point(k, self._space.fractions[k][0]) for k in levels}
        return {first.responses: first, **others}

    def whole(self, labelled: Labelled) -> DesignPoint:
        """Where a contender is tuned."""
        responses, how = labelled
        return self._space.point(responses, self._space.whole(responses, how), None, None, how)

    def best(self, site: DesignPoint) -> Hyperparameters | None:
        """The best of those compared at a site; None while fewer than asked for were."""
        if site not in self._best:
            self._best[site] = self._find(site)
        return self._best[site]

    @cached_property
    def _best(self) -> dict[DesignPoint, Hyperparameters | None]:
        return {}

    def own(self, labelled: Labelled) -> Hyperparameters:
        """The hyperparameters for so many responses, labelled so, as far as they are tuned."""
        return self._steps(labelled)[0]

    def fixed(self) -> dict[str, Scalar]:
        """The hyperparameters of every number of responses by the names that `Space.walk` calls them."""
        found: dict[str, Scalar] = {}
        for responses in self._space.fractions:
            for name, value in self.own((responses, self._space.labellings[0])):
                found[self._space.hyperparameter_name(name, responses)] = value
        return found

    def tried(self, site: DesignPoint) -> set[Hyperparameters]:
        """What was started at a site."""
        points = [one.point for one in self._progress.started]
        points += [one.point for one in self._progress.known]
        return {point.hyperparameters for point in points if _same_split(point, site)}

    def judging(self, record: TrialRecord) -> TrialRecord:
        """`record` without the seeds that chose, where it was trained at a site that is tuned."""
        sites = [self.cheap.get(record.responses), self.whole(_labelled(record))]
        if not any(site and _same_split(record.point, site) and self.best(site) for site in sites):
            return record
        return replace(record, results=tuple(r for r in record.results if r.seed not in self._choosing))

    def records(self) -> list[TrialRecord]:
        """The trials that compare splits at their own best, pooled; those of earlier sites as groups.

        A best that no seed has judged yet is passed over for that of the site before.
        """
        kept = []
        for record in [*self._progress.earlier, *self._progress.finished]:
            used, at = self.judging(record), record.point.hyperparameters
            steps = self._judged_steps(_labelled(record))
            if record.group or at == (steps or [self.once])[0]:
                kept.append(used)
            elif at in steps:
                kept.append(replace(used, group=_group(at, record.point)))
        return pooled(record for record in kept if record.results)

    def found(self) -> list[TunedAt]:
        """The contenders that were tuned and judged at their own split."""
        found = []
        for site in map(self.whole, self._space.labelled):
            best = self.best(site)
            rewards = () if best is None else _rewards(map(self.judging, self._at(site, best)))
            if best is not None and rewards:
                once = _rewards(map(self._chosen, self._at(site, self.once)))
                found.append(TunedAt(split=site.split, best=best, rewards=rewards, once=once))
        return found

    def _steps(self, labelled: Labelled) -> list[Hyperparameters]:
        """What is best by each site of so many responses, labelled so, the last first, `once` at the end."""
        nearest = min(self.cheap, key=lambda k: abs(log(k / labelled[0])))
        found = [self.best(self.whole(labelled)), self.best(self.cheap[nearest]), self.once]
        return list(dict.fromkeys(one for one in found if one is not None))

    def _judged_steps(self, labelled: Labelled) -> list[Hyperparameters]:
        if labelled not in self._judged:
            self._judged[labelled] = [one for one in self._steps(labelled) if self._is_judged(labelled, one)]
        return self._judged[labelled]

    @cached_property
    def _judged(self) -> dict[Labelled, list[Hyperparameters]]:
        return {}

    def _is_judged(self, labelled: Labelled, hyperparameters: Hyperparameters) -> bool:
        return any(
            self.judging(record).results
            for record in self._progress.known
            if _labelled(record) == labelled and record.point.hyperparameters == hyperparameters
        )

    def _at(self, site: DesignPoint, hyperparameters: Hyperparameters) -> list[TrialRecord]:
        known = [one for one in self._progress.known if _same_split(one.point, site)]
        return [record for record in known if record.point.hyperparameters == hyperparameters]

    def _find(self, site: DesignPoint) -> Hyperparameters | None:
        tried = self.tried(site)
        choosing = any(
            _same_split(trial.point, site) and self._choosing & set(trial.seeds)
            for trial in self._progress.running
        )
        if len(tried) < self.count or choosing:
            return None
        rewards = self._rewards_at(site, tried)
        return max(rewards, key=lambda one: (rewards[one], one == self.once), default=self.once)

    def _rewards_at(
        self, site: DesignPoint, tried: Iterable[Hyperparameters]
    ) -> Mapping[Hyperparameters, float]:
        """Mean reward of each over the seeds that choose; without those that have not ended there."""
        found = {one: _rewards(map(self._chosen, self._at(site, one))) for one in tried}
        return {one: fmean(rewards) for one, rewards in found.items() if rewards}

    def _chosen(self, record: TrialRecord) -> TrialRecord:
        """`record` with the seeds that choose alone."""
        return replace(record, results=tuple(r for r in record.results if r.seed in self._choosing))


def _rewards(records: Iterable[TrialRecord]) -> tuple[float, ...]:
    return tuple(reward for record in records for reward in record.rewards)


def _group(hyperparameters: Hyperparameters, point: DesignPoint) -> str:
    return f"{', '.join(shown(dict(hyperparameters)))} at {point.responses} responses{point.labelling}"


def _labelled(record: TrialRecord) -> Labelled:
    return record.responses, record.point.labelling


def _same_split(one: DesignPoint, other: DesignPoint) -> bool:
    return (one.split, one.draw) == (other.split, other.draw)
