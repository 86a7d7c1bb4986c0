"""Which split is best, and whether that is decided: one judgement that the plan and the report share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from search.config.cost import Labelling, Split
from search.fit.fit import Fit
from search.fit.forecast import Forecast
from search.fit.observations import Floats
from search.fit.question import Question, predict, tried_splits

# A smaller probability of being better is none that is worth naming.
SLIGHT = 0.01
# An untried split of as many responses as the first, labelled alike, is a point between trials rather than
# another choice: it is named only where it is more than twice as likely to be better as any other.
NEIGHBOUR = 0.5


@dataclass(frozen=True, eq=False)
class Decision:
    """The feasible splits, best first, and how far the first is ahead. Rewards are on the study's scale.

    Only of choices of responses other than random a better one may follow: see `best_first`.
    `exceeds` is the probability of each split to be better than the first by more than the margin, `behind`
    that of being worse by more. Numbers of responses that no trial has are interpolated, so they are not
    `contenders`: their `exceeds` is 0. `tried` splits have a trial with random prompts.
    `enough` is the probability that no contender, equal or not, is better than the first by more than the
    margin, `alone` that none is better at all. `best` is each split's probability to be the best of all.
    """

    splits: tuple[Split, ...]
    forecast: Forecast
    margin: float
    contenders: tuple[bool, ...]
    tried: tuple[bool, ...]
    exceeds: Floats
    behind: Floats
    enough: float
    alone: float
    best: Floats

    @property
    def equals(self) -> list[int]:
        """Places of the splits whose predicted reward is within the margin of the first's."""
        mean = self.forecast.mean
        return [i for i in range(1, len(mean)) if abs(mean[0] - mean[i]) <= self.margin]

    @property
    def runner_up(self) -> int | None:
        """Place of the contender most likely to be better by more than the margin, of those not `equals`.

        Untried neighbours of the first count by half. None where every contender is equal.
        """
        equals = set(self.equals)
        places = [i for i in range(1, len(self.splits)) if self.contenders[i] and i not in equals]
        return self._likeliest(places, [NEIGHBOUR if self._is_neighbour(i) else 1.0 for i in places])

    @property
    def doubt(self) -> int | None:
        """Place of the split most likely to be better by more than the margin, be it equal as predicted.

        That is where trials tell most of whether the first is good enough. None for a single split.
        """
        places = range(1, len(self.splits))
        return self._likeliest(places, [1.0] * len(places))

    def _likeliest(self, places: Sequence[int], weights: Sequence[float]) -> int | None:
        """The place with the highest weighted `exceeds`; None without any.

        Where none has a chance worth naming, the best contender with another number of responses or another
        way of labelling, if there is any.
        """
        if not places:
            return None
        others = [i for i in places if self.contenders[i] and not self._is_alike(i)]
        if others and max(self.exceeds[i] for i in places) < SLIGHT:
            return others[0]
        return max(zip(places, weights, strict=True), key=lambda one: self.exceeds[one[0]] * one[1])[0]

    def _is_neighbour(self, place: int) -> bool:
        return self._is_alike(place) and not self.tried[place]

    def _is_alike(self, place: int) -> bool:
        """Whether each prompt gets what it gets in the first split."""
        return _labels(self.splits[place]) == _labels(self.splits[0])


def decide(fit: Fit, question: Question, splits: Sequence[Split], margin: float, seed: int) -> Decision:
    """Order `splits` by predicted reward and judge the first against the others; equal ones cheapest first.

    Raises InsufficientDataError where the trials identify no prediction.
    """
    cheap = sorted(splits, key=lambda split: (question.cost_model.of(split), split.prompts))
    forecast = predict(fit, cheap, question.curve)
    order = best_first(forecast, cheap)
    forecast = forecast.combine(np.eye(len(order))[order])
    ordered = tuple(cheap[i] for i in order)
    contenders = np.isin([split.responses for split in ordered], fit.observed.levels)
    tried = set(tried_splits(fit.observed))
    leads = forecast.draws(seed)
    best = np.bincount(leads.argmax(axis=1), minlength=len(ordered)) / len(leads)
    leads = np.where(contenders, leads - leads[:, :1], -np.inf).max(axis=1)
    return Decision(
        splits=ordered,
        forecast=forecast,
        margin=margin,
        contenders=tuple(bool(contender) for contender in contenders),
        tried=tuple(split in tried for split in ordered),
        exceeds=np.array([_exceeds(forecast, i, 0, margin) for i in range(len(ordered))]) * contenders,
        behind=np.array([_exceeds(forecast, 0, i, margin) for i in range(len(ordered))]),
        enough=float(np.mean(leads <= margin)),
        alone=float(np.mean(leads <= 0)),
        best=best,
    )


def best_first(forecast: Forecast, splits: Sequence[Split]) -> list[int]:
    """Indices of `splits` by falling predicted reward, ties in their order; one that may be advised is first.

    A split whose responses are chosen in another way than at random may be where the 95% interval of its lead
    over the best split with random ones lies above 0.
    """
    order: list[int] = np.argsort(-_rounded(forecast.mean), kind="stable").tolist()
    random = next((i for i in order if splits[i].response_choice == "random"), None)
    first = next(
        i for i in order
        if random is None or splits[i].response_choice == "random" or lead(forecast, i, random)[1] > 0
    )  # fmt: skip
    return [first, *(i for i in order if i != first)]


def lead(forecast: Forecast, one: int, other: int) -> tuple[float, float, float]:
    """How far one split is ahead of another: the mean, and the ends of the 95% interval."""
    contrast = np.zeros((1, len(forecast.mean)))
    contrast[0, one] += 1
    contrast[0, other] -= 1
    gap = forecast.combine(contrast)
    low, high = gap.interval()
    return float(gap.mean[0]), float(low[0]), float(high[0])


def _labels(split: Split) -> tuple[int, Labelling]:
    """What each prompt gets."""
    return split.responses, split.labelling


def _rounded(rewards: Floats) -> Floats:
    """Rewards without the rounding error that would order equal ones by chance."""
    unit = 1e-9 * max(float(np.ptp(rewards)), 1e-12)
    return np.round(rewards / unit)


def _exceeds(forecast: Forecast, one: int, other: int, margin: float) -> float:
    """Probability that split `one` is better than `other` by more than `margin`."""
    if one == other:
        return 0.0
    lead = forecast.means[:, one] - forecast.means[:, other] - margin
    spread = np.maximum(forecast.gap_spreads(one, other), 1e-12)
    return float(forecast.weights @ stdtr(forecast.dfs, lead / spread))
