"""Whether the best hyperparameters moved with the split, and whether the advice moved with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from base.errors import InsufficientDataError
from search.advice.recommend import recommend
from search.config.cost import Labelling, Split
from search.config.hyperparameters import shown
from search.config.scale import RewardScale
from search.fit.fit import Fit, fit_trials
from search.fit.forecast import format_probability
from search.fit.question import Question, predict
from search.plan.tuning import TunedAt
from search.trials.design_point import Hyperparameters
from search.trials.record import TrialRecord


@dataclass(frozen=True, kw_only=True)
class TunedSplit:
    """A split at its own best hyperparameters.

    `gain` is how much better they are there than those that were tuned once (reward), by seeds that had no
    say in which are best; None, as its interval, where both are the same or the noise is not known.
    """

    split: Split
    hyperparameters: Hyperparameters
    gain: float | None = None
    gain_95: tuple[float, float] | None = None

    @property
    def moved(self) -> bool:
        """Whether they are better there beyond doubt (95%)."""
        return self.gain_95 is not None and self.gain_95[0] > 0


@dataclass(frozen=True, kw_only=True)
class PerSplit:
    """The contenders tuned at their own splits, beside the advice with hyperparameters that were tuned once.

    `lead` is by how much the recommended split is better than `advised_once`, each at its own best, which is
    so with `probability`.
    """

    once: Hyperparameters
    splits: tuple[TunedSplit, ...]
    advised: Split
    advised_once: Split | None
    lead: float
    probability: float
    scale: RewardScale

    @property
    def advice_moved(self) -> bool:
        """Whether the number of responses (or raters) that is advised is another."""
        then = self.advised_once
        return then is not None and _labelled(then) != _labelled(self.advised)

    def sentences(self) -> list[str]:
        """Whether the best hyperparameters moved, and whether the advice did."""
        return [self._hyperparameters(), self._advice()]

    def _hyperparameters(self) -> str:
        moved = [one for one in self.splits if one.moved]
        said = "; ".join(self._of(one) for one in self.splits)
        if moved:
            return f"The best hyperparameters moved with the split: {said}."
        return f"No split has hyperparameters that are better there beyond doubt: {said}."

    def _of(self, one: TunedSplit) -> str:
        at = f"{', '.join(shown(dict(one.hyperparameters)))} at {one.split}"
        if one.gain is None or one.gain_95 is None:
            return at if one.hyperparameters != self.once else f"{at}, as tuned once"
        low, high = (self.scale.text(end, sign=True) for end in one.gain_95)
        return f"{at} ({self.scale.text(one.gain, sign=True)} over those tuned once, 95% {low} to {high})"

    def _advice(self) -> str:
        once = ", ".join(shown(dict(self.once)))
        if self.advised_once is None:
            return f"With hyperparameters tuned once ({once}) there would be no advice."
        if not self.advice_moved:
            return f"With hyperparameters tuned once ({once}) the advice would be the same."
        return (
            f"With hyperparameters tuned once ({once}) the advice would be {self.advised_once}: it moved to "
            f"{self.advised}, which is ahead by {self.scale.text(self.lead)}, each at its own best (better "
            f"with probability {format_probability(self.probability)})."
        )

    def to_dict(self) -> dict[str, Any]:
        """As kept in recommendation.json."""
        found = {name: value for name, value in asdict(self).items() if name != "scale"}
        return found | {
            "splits": [asdict(one) | {"moved": one.moved} for one in self.splits],
            "advice_moved": self.advice_moved,
        }


def per_split(
    tuned: Sequence[TunedAt],
    once: Hyperparameters,
    fit: Fit,
    advised: Split,
    records_once: Sequence[TrialRecord],
    question: Question,
    *,
    seed: int,
    margin: float,
) -> PerSplit:
    """What was found at the `tuned` splits; `records_once` are all trials with the hyperparameters `once`."""
    found = tuple(_tuned(one, once, fit) for one in tuned)
    then = _advised(records_once, question, seed, margin)
    lead, probability = 0.0, 1.0
    if then is not None and then != advised:
        forecast = predict(fit, [advised, then], question.curve)
        lead, probability = float(forecast.mean[0] - forecast.mean[1]), forecast.probability(0, 1)
    return PerSplit(
        once=once,
        splits=found,
        advised=advised,
        advised_once=then,
        lead=lead,
        probability=probability,
        scale=fit.scale,
    )


def _tuned(at: TunedAt, once: Hyperparameters, fit: Fit) -> TunedSplit:
    """With the difference of two means of seeds, whose noise all trials tell."""
    noise, df = fit.observed.noise_variance, fit.observed.noise_df
    found = TunedSplit(split=at.split, hyperparameters=at.best)
    if at.best == once or noise is None or not at.rewards or not at.once:
        return found
    gain = float(np.mean(at.rewards) - np.mean(at.once))
    reach = float(stats.t.ppf(0.975, df) * np.sqrt(noise * (1 / len(at.rewards) + 1 / len(at.once))))
    return replace(found, gain=gain, gain_95=(gain - reach, gain + reach))


def _advised(records: Sequence[TrialRecord], question: Question, seed: int, margin: float) -> Split | None:
    try:
        return recommend(fit_trials(records), question, seed=seed, margin=margin).best.split
    except InsufficientDataError:
        return None


def _labelled(split: Split) -> tuple[int, Labelling]:
    return split.responses, split.labelling
