"""The limits of a study: trials, tokens, hours and money."""

from __future__ import annotations

import math
from collections.abc import Sequence

from search.config.study import SearchConfig
from search.plan.progress import Progress
from search.trials.record import TrialRecord


def limit_reached(search: SearchConfig, progress: Progress) -> str:
    """The first limit that is reached, in words; empty where none is."""
    if len(progress.started) >= search.trials:
        return f"search.trials ({search.trials}) is reached"
    return amount_reached(search, progress.finished)


def amount_reached(search: SearchConfig, finished: Sequence[TrialRecord]) -> str:
    """The first limit of tokens, hours or money that these trials have reached; empty where none is."""
    tokens = sum(record.trained_tokens for record in finished)
    hours = sum(record.seconds for record in finished) / 3600
    cost = hours * search.price_per_hour
    if search.max_tokens is not None and tokens >= search.max_tokens:
        return f"search.max_tokens ({search.max_tokens:,}) is reached with {tokens:,}"
    if search.max_hours is not None and hours >= search.max_hours:
        return f"search.max_hours ({search.max_hours:g}) is reached with {hours:.2f}"
    if search.max_cost is not None and cost >= search.max_cost:
        return f"search.max_cost ({search.max_cost:g}) is reached with {cost:.2f}"
    return ""


def seconds_within(search: SearchConfig, progress: Progress) -> float:
    """How many more seconds of trials the limits leave; tokens count at the pace of the finished trials."""
    seconds = sum(record.seconds for record in progress.finished)
    tokens = sum(record.trained_tokens for record in progress.finished)
    limits = [math.inf]
    if search.max_hours is not None:
        limits.append(search.max_hours * 3600)
    if search.max_cost is not None:
        limits.append(search.max_cost / search.price_per_hour * 3600)
    if search.max_tokens is not None and tokens:
        limits.append(search.max_tokens / tokens * seconds)
    return max(min(limits) - seconds, 0.0)
