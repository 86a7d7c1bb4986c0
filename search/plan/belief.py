"""What the finished trials say about the split of the whole budget, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from base.errors import InsufficientDataError
from search.config.cost import Split
from search.config.scale import ScaleName
from search.fit.decision import Decision, decide, lead
from search.fit.ensemble import Candidate, Ensemble
from search.fit.fit import Fit, fit_trials
from search.fit.forecast import format_probability
from search.fit.question import Question
from search.trials.record import TrialRecord

# The draws behind `enough` and `alone` are the same at every look.
SEED = 0


@dataclass(frozen=True, kw_only=True)
class Belief:
    """The best split and the one most likely to be better than it; rewards are on the study's scale.

    `runner_up` is most likely better by more than the margin, even where it is predicted within it: there
    further trials tell most (`Decision.doubt`). The recommendation calls such a one an equal.

    `prob_best` is the probability that no other split is better, `prob_within_margin` that none is better by
    more than the practical margin: the figures that the recommendation gives for the same trials.
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
        if self.gap < 0:  # only a choice of responses that is not surely better than random
            return (
                f"{self.best} stands, though {self.runner_up} leads it by {-self.gap:.4g} (95% interval "
                f"{-high:.4g} to {-low:.4g}), better with probability "
                f"{format_probability(1 - self.probability_better)}"
            )
        return (
            f"{self.best} leads {self.runner_up} by {self.gap:.4g} (95% interval {low:.4g} to {high:.4g}), "
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


def believe(
    records: Sequence[TrialRecord],
    question: Question,
    margin: float,
    scale: ScaleName = "unit",
    further: Sequence[Candidate] = (),
) -> Belief | Undecided:
    """The belief about the splits of `question`, as far as the trials (and `further` models) identify any.

    It is finally undecided where rewards are all the same, or are no rewards.
    """
    try:
        fit = fit_trials(records, scale, further)
    except InsufficientDataError as error:
        return Undecided(str(error), final=True)
    splits = question.splits(fit)
    if not splits or (fit.ensemble is None and fit.observed.noise_variance is None):
        return TOO_EARLY
    return _belief(fit, decide(fit, question, splits, margin, SEED))


def _belief(fit: Fit, decision: Decision) -> Belief:
    forecast, second = decision.forecast, decision.doubt
    gap, low, high = lead(forecast, 0, second or 0)
    return Belief(
        best=decision.splits[0],
        runner_up=None if second is None else decision.splits[second],
        reward=float(forecast.mean[0]),
        gap=gap,
        gap_95=(low, high),
        probability_better=1.0 if second is None else forecast.probability(0, second),
        prob_best=decision.alone,
        prob_within_margin=decision.enough,
        ensemble=fit.ensemble,
    )
