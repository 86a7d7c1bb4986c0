"""How far a study may still go and how long that may take: upper estimates, from what it has trained."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

from search.plan.limits import seconds_within
from search.plan.plan import AT_ONCE, Plan
from search.plan.progress import Progress
from search.trials.design_point import Trial
from search.trials.record import TrialRecord


def trials_left(plan: Plan, progress: Progress) -> int:
    """How many trials may still be started, by their number alone; the study may decide sooner."""
    left = plan.search.trials - len(progress.started)
    if plan.search.plan == "grid":
        left = min(left, len(list(plan.grid_left(progress))))
    return max(left, 0)


def seconds_left(plan: Plan, progress: Progress, elapsed: Sequence[float], concurrent: int) -> float | None:
    """How long the study still takes at most (seconds), as far as its finished trials show; else None.

    `elapsed` are the seconds since each of `progress.running` began, `concurrent` is how many trials run at a
    time. A trial takes as long as the longest finished one, and longer in proportion where it trains more
    responses than any of them; one that has not started is taken to train the most that a trial may. A
    running trial that takes longer shows that they are no guide.
    """
    longest = max((record.seconds for record in progress.finished), default=0.0)
    most = max((_work(plan, record) for record in progress.finished), default=0.0)
    if not longest:
        return None
    running = zip(progress.running, elapsed, strict=True)
    rests = [longest * max(1.0, _work(plan, trial) / most) - since for trial, since in running]
    if min(rests, default=0.0) < 0:
        return None
    points = {*plan.space.grid(), *(trial.point for trial in progress.started)}
    each = longest * max(1.0, max(map(plan.work, points)) * plan.search.seeds / most)
    # Only a grid keeps the whole cluster busy to its end: a confirmation does not.
    slots = concurrent if plan.search.plan == "grid" else min(concurrent, AT_ONCE)
    ends = sorted([*heapq.nlargest(slots, rests), *[0.0] * (slots - len(rests))])
    for _ in range(_startable(plan, progress, each)):
        heapq.heapreplace(ends, ends[0] + each)
    return max(ends)


def _startable(plan: Plan, progress: Progress, each: float) -> int:
    """How many trials of `each` seconds may still be started within all limits of the study."""
    within = min(seconds_within(plan.search, progress) / each, plan.search.trials)
    return min(trials_left(plan, progress), math.ceil(within))


def _work(plan: Plan, trained: Trial | TrialRecord) -> float:
    return plan.work(trained.point) * len(trained.seeds)
