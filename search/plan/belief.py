"""What the finished trials say about the split of the whole budget, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import stdtr

from base.errors import InsufficientDataError
from search.config.cost import Split
from search.fit.ensemble import Ensemble, direct_forecast
from search.fit.fit import fit_trials
from search.fit.forecast import Forecast, format_probability
from search.fit.models import Points
from search.fit.question import Question
from search.trials.record import TrialRecord


@dataclass(frozen=True, kw_only=True)
class Belief:
    """The best split and the one most likely to be better than it; rewards are expected rewards in [0, 1].

    `prob_best` is the probability that no other split is better, `prob_within_margin` that none is better by
    more than the practical margin: each is one less the sum over the others, so both are lower bounds.
    """

    best: Split
    runner_up: Split | None
    reward: float
    gap: float
    gap_95: tuple[float, float]
    probability_better: float
    prob_best: float
    prob_within_margin: float
    ensemble: Ensemble | None = field(repr=False, compare=False)

    def sentence(self) -> str:
        """What is believed, in one line."""
        if self.runner_up is None:
            return f"{self.best} is the only split"
        low, high = self.gap_95
        return (
            f"{self.best} leads {self.runner_up} by {self.gap:.4f} (95% interval {low:.4f} to {high:.4f}), "
            f"better with probability {format_probability(self.probability_better)}"
        )


@dataclass(frozen=True)
class Undecided:
    """Why nothing is believed of the splits; `final` where no further trial would change that."""

    reason: str
    final: bool = False

    def sentence(self) -> str:
        return self.reason


TOO_EARLY = Undecided("too early to tell the splits apart")


def believe(records: Sequence[TrialRecord], question: Question, margin: float) -> Belief | Undecided:
    """The belief about the splits of `question`, as far as the trials identify any.

    It is finally undecided where rewards are all the same, or are no rewards.
    """
    try:
        fit = fit_trials(records)
        splits = question.splits(fit)
    except InsufficientDataError as error:
        return Undecided(str(error), final=True)
    if not splits:
        return TOO_EARLY
    at = Points(
        np.array([split.prompts for split in splits], float),
        np.array([split.responses for split in splits], float),
        np.array([question.curve.at(split.prompts) for split in splits]),
    )
    ensemble = fit.ensemble
    forecast = ensemble.forecast(at, own=True) if ensemble else direct_forecast(fit.observed, at)
    if forecast is None:
        return TOO_EARLY
    best = int(np.argmax(forecast.mean))
    others = [i for i in range(len(splits)) if i != best]
    worse = {i: _exceeds(forecast, i, best, margin) for i in others}
    runner_up = max(others, key=lambda i: worse[i], default=None)
    if runner_up is None:
        return Belief(
            best=splits[best], runner_up=None, reward=float(forecast.mean[best]), gap=0.0, gap_95=(0.0, 0.0),
            probability_better=1.0, prob_best=1.0, prob_within_margin=1.0, ensemble=fit.ensemble,
        )  # fmt: skip
    contrast = np.zeros((1, len(splits)))
    contrast[0, best], contrast[0, runner_up] = 1, -1
    low, high = forecast.combine(contrast).interval()
    return Belief(
        best=splits[best],
        runner_up=splits[runner_up],
        reward=float(forecast.mean[best]),
        gap=float(forecast.mean[best] - forecast.mean[runner_up]),
        gap_95=(float(low[0]), float(high[0])),
        probability_better=forecast.probability(best, runner_up),
        prob_best=1 - sum(_exceeds(forecast, i, best, 0.0) for i in others),
        prob_within_margin=1 - sum(worse.values()),
        ensemble=fit.ensemble,
    )


def _exceeds(forecast: Forecast, first: int, second: int, margin: float) -> float:
    """Probability that split `first` is better than `second` by more than `margin`."""
    lead = forecast.means[:, first] - forecast.means[:, second] - margin
    spread = np.maximum(forecast.gap_spreads(first, second), 1e-12)
    return float(forecast.weights @ stdtr(forecast.dfs, lead / spread))
