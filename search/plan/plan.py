"""Which point is trained next, and when a study has decided: pure functions of what has been found so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np

from base.errors import InsufficientDataError
from search.config.hyperparameters import Scalar, applied
from search.fit.curve import DiversityCurve
from search.fit.forecast import format_probability
from search.fit.models import Points
from search.fit.question import Question
from search.plan.belief import Belief, believe
from search.plan.information import gap_variance
from search.plan.progress import Progress
from search.plan.space import Space, seeded
from search.plan.step import Step, Stop, Train, Wait
from search.trials.design_point import Point
from search.trials.record import TrialRecord, pooled

# The pilot tries at most so many numbers of responses; the rest are interpolated until they matter.
PILOT_LEVELS = 5
# The study looks after every trial, and each look is a chance to be wrong: one look must be surer than
# the whole may be, by this factor (benchmarks/search.md says how it was found).
LOOKS = 2.0

# Confirmation runs one trial for each of the two splits at a time: what they find decides the next.
AT_ONCE = 2
TOO_EARLY = "too early to tell the splits apart"

Hyperparameters: TypeAlias = tuple[tuple[str, Scalar], ...]


# Proposes a place, given what is fixed of it by name.
Propose: TypeAlias = Callable[[Mapping[str, Scalar]], Point]


@dataclass
class Plan:
    """Pilot, Optuna's proposals, confirmation; `curve` is the pool's diversity over its prompts."""

    space: Space
    curve: DiversityCurve
    _beliefs: dict[int, Belief | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.config = self.space.config
        self.search = self.config.search
        self.question = Question(
            self.config.budget,
            self.config.cost,
            self.curve,
            tuple(sorted(self.space.budget_fractions)),
            self.space.max_prompts,
        )

    def next(self, progress: Progress, propose: Propose) -> Step:
        """What to do now; `propose` is asked when it is Optuna's turn."""
        step = self._next(progress, propose)
        return Wait() if isinstance(step, Stop) and progress.running else step

    def _next(self, progress: Progress, propose: Propose) -> Step:
        belief = self._belief(progress)
        if limit := self._limit(progress):
            return self._verdict(belief, progress) or Stop(f"{limit}; {_words(belief)}", False, belief)
        if left := [point for point in progress.interrupted if point not in progress.started]:
            return Train(left[0], "it was running when the study was stopped")
        if self.search.plan == "grid":
            return self._grid(progress, belief)
        return (
            self._hyperparameter_trials(progress, propose)
            or self._pilot(progress)
            or self._verdict(belief, progress)
            or self._proposed(progress, propose, belief)
            or self._confirm(progress, belief)
        )

    def hyperparameters(self, progress: Progress) -> Hyperparameters:
        """The best setting: the highest mean reward at the split, and with the seeds, that all were tried at.

        Seeds that a setting got later are left out, so that they never turn the study to another setting.
        """
        rewards = {
            point.hyperparameters: record.reward
            for point, record in progress.finished
            if self._at_anchor(point) and self.config.seed in point.seeds
        }
        own = self.space.default_hyperparameters
        return max(
            rewards,
            key=lambda hyperparameters: (rewards[hyperparameters], hyperparameters == own),
            default=own,
        )

    def records(self, progress: Progress) -> list[TrialRecord]:
        """The trials that answer the question of the split: those with the best setting, one a place."""
        hyperparameters = self.hyperparameters(progress)
        return pooled(
            record for point, record in progress.finished if point.hyperparameters == hyperparameters
        )

    # the phases, each None when it is over

    def _grid(self, progress: Progress, belief: Belief | str) -> Step:
        for place in self.space.grid():
            if place not in progress.settled:
                return Train(self._seeded(place, progress), "the next point of the grid", belief)
        return self._verdict(belief, progress) or Stop(
            f"every point of the grid is trained; {_words(belief)}", False, belief
        )

    def _hyperparameter_trials(self, progress: Progress, propose: Propose) -> Step | None:
        """Optuna's trials of the fields in search.space, all at one split; the study's own values first."""
        tried = [point for point in progress.started if self._at_anchor(point)]
        if not self.space.hyperparameters or len(tried) >= self.search.hyperparameter_trials:
            return (
                Wait() if self.space.hyperparameters and any(map(self._at_anchor, progress.running)) else None
            )
        why = f"settings, {len(tried) + 1} of {self.search.hyperparameter_trials} at {self._anchor.split}"
        if not tried:
            return Train(self._seeded(self._anchor, progress), why)
        anchor = self._anchor
        fixed: dict[str, Scalar] = {
            "responses": anchor.responses,
            "budget_fraction": anchor.budget_fraction,
            "selection": anchor.selection,
        }
        place = propose(fixed | ({"strength": anchor.strength} if anchor.strength else {}))
        return Train(self._seeded(place, progress), f"{why}, proposed by Optuna")

    def _pilot(self, progress: Progress) -> Step | None:
        places = self.pilot(self.hyperparameters(progress))
        for number, place in enumerate(places, 1):
            if place not in progress.settled:
                return Train(self._seeded(place, progress), f"pilot, {number} of {len(places)}")
        untold = [place for place in places if not progress.seeds_at(place)]
        return Wait() if any(point.place in untold for point in progress.running) else None

    def _verdict(self, belief: Belief | str, progress: Progress) -> Stop | None:
        """The end of the study, where the belief is sure enough and rests on trials of the whole budget."""
        if isinstance(belief, str) or belief.runner_up is None or belief.enough < self._needed:
            return None
        if not all(progress.seeds_at(place) for place in self._pair(belief, progress)):
            return None
        if belief.alone >= self._needed:
            return Stop(f"decided: {belief.sentence()}", True, belief)
        return Stop(
            f"decided: {belief.sentence()}; no other split is better by more than "
            f"{self.search.practical_margin:g} (search.practical_margin) with probability "
            f"{format_probability(belief.enough)}",
            True,
            belief,
        )

    def _proposed(self, progress: Progress, propose: Propose, belief: Belief | str) -> Step | None:
        """Optuna's trials of the whole budget, informed by the pilot."""
        hyperparameters = self.hyperparameters(progress)
        mine = [point for point in progress.started if point.hyperparameters == hyperparameters]
        beyond = len(mine) - len({point.place for point in mine} & set(self.pilot(hyperparameters)))
        if beyond >= self.search.proposals:
            return None
        fixed = dict(hyperparameters)
        for responses in self.space.budget_fractions:
            fixed[self.space.budget_fraction_name(responses)] = self.space.whole(responses)
        place = propose(fixed)
        if place in progress.given_up:
            return None
        why = f"{_words(belief)}; proposed by Optuna, {beyond + 1} of {self.search.proposals}"
        return Train(self._seeded(place, progress), why, belief)

    def _confirm(self, progress: Progress, belief: Belief | str) -> Step:
        """More seeds of the best split or its rival: at the whole budget first, then where they tell most."""
        if isinstance(belief, str) and belief != TOO_EARLY:
            return Stop(belief, False, belief)
        if len(progress.running) >= AT_ONCE:
            return Wait()
        places = self._contenders(progress, belief)
        running = {point.place for point in progress.running}
        open_ = [place for place in places if place not in progress.given_up | running]
        if not open_:
            return Wait() if running else Stop(f"{places[0].label} cannot be trained", False, belief)
        asked = f"{self.search.confidence:g} is asked (which takes {self._needed:g} at each look)"
        place = self._most_telling(open_, progress, belief)
        return Train(
            self._seeded(place, progress), f"{_words(belief)}, {asked}; more seeds for {place.label}", belief
        )

    def _contenders(self, progress: Progress, belief: Belief | str) -> list[Point]:
        """Where confirmation may train: the best split and its rival at every spend.

        Only at the whole budget until both were trained there; every number of responses there, while
        there is no belief.
        """
        hyperparameters = self.hyperparameters(progress)
        if isinstance(belief, str):
            return [
                self.space.place(k, self.space.whole(k), hyperparameters=hyperparameters)
                for k in self.space.budget_fractions
            ]
        pair = self._pair(belief, progress)
        if missing := [place for place in pair if not progress.seeds_at(place)]:
            return missing
        return [
            self.space.place(place.responses, budget_fraction, hyperparameters=hyperparameters)
            for place in pair
            for budget_fraction in self.space.budget_fractions[place.responses]
        ]

    def _most_telling(self, places: Sequence[Point], progress: Progress, belief: Belief | str) -> Point:
        """The place whose further seeds narrow the gap most for their work; else the least trained one."""
        if isinstance(belief, str) or belief.ensemble is None or len(places) == 1:
            return min(places, key=progress.seeds_at)
        pair = self._points(self._pair(belief, progress))
        now, after = gap_variance(belief.ensemble, pair, self._points(places), self.search.seeds)
        worth = [(now - then) / self.work(place) for place, then in zip(places, after, strict=True)]
        return places[worth.index(max(worth))]

    def _points(self, places: Sequence[Point]) -> Points:
        return Points(
            np.array([place.prompts for place in places], float),
            np.array([place.responses for place in places], float),
            np.array([self.curve.at(place.prompts)[0] for place in places]),
        )

    def work(self, place: Point) -> float:
        """Responses that one training encodes, as far as they differ between places."""
        visits = applied(self.config.trainer, dict(place.hyperparameters)).visits(place.prompts)
        return 1.0 if visits is None else float(visits * place.responses)

    # what the phases stand on

    def pilot(self, hyperparameters: Hyperparameters) -> list[Point]:
        """A small design, cheap budget fractions first, that identifies the fit's lines.

        Numbers of responses at the smallest spend, then at the largest below the whole budget (at the
        whole budget for the two ends, where there is none between), then one place for each other way of
        drawing prompts.
        """
        levels = _spaced(sorted(self.space.budget_fractions), PILOT_LEVELS)
        places = [
            self.space.place(k, self.space.budget_fractions[k][0], hyperparameters=hyperparameters)
            for k in levels
        ]
        for k in levels:
            budget_fractions = self.space.budget_fractions[k]
            if len(budget_fractions) > 2 or k in (levels[0], levels[-1]):
                places.append(self.space.place(k, budget_fractions[-2] if len(budget_fractions) > 2 else budget_fractions[-1],
                                               hyperparameters=hyperparameters))  # fmt: skip
        middle = levels[len(levels) // 2]
        for draw in self.space.draws[1:]:
            places.append(
                self.space.place(middle, self.space.budget_fractions[middle][0], draw, hyperparameters)
            )
        return list(dict.fromkeys(places))

    @cached_property
    def _anchor(self) -> Point:
        """Where settings are compared: a middle number of responses, at the largest spend up to a half."""
        levels = sorted(self.space.budget_fractions)
        middle = levels[len(levels) // 2]
        budget_fractions = self.space.budget_fractions[middle]
        return self.space.place(
            middle, max((s for s in budget_fractions if s <= 0.5), default=budget_fractions[0])
        )

    def _at_anchor(self, point: Point) -> bool:
        anchor = self._anchor
        return (point.split, point.selection, point.strength) == (
            anchor.split,
            anchor.selection,
            anchor.strength,
        )

    @property
    def _needed(self) -> float:
        return 1 - (1 - self.search.confidence) / LOOKS

    def _pair(self, belief: Belief, progress: Progress) -> list[Point]:
        """The best split and its rival, as places of the whole budget."""
        splits = [belief.best] + ([belief.runner_up] if belief.runner_up else [])
        hyperparameters = self.hyperparameters(progress)
        return [
            self.space.place(
                split.responses, self.space.whole(split.responses), hyperparameters=hyperparameters
            )
            for split in splits
        ]

    def _seeded(self, place: Point, progress: Progress) -> Point:
        return seeded(self.config, place, progress.seeds.get(place, set()))

    def _limit(self, progress: Progress) -> str:
        """The limit that is reached, in words, or nothing."""
        search, records = self.search, [record for _, record in progress.finished]
        tokens, hours = sum(r.trained_tokens for r in records), sum(r.seconds for r in records) / 3600
        if len(progress.started) >= search.trials:
            return f"search.trials ({search.trials}) is reached"
        if search.max_tokens is not None and tokens >= search.max_tokens:
            return f"search.max_tokens ({search.max_tokens:,}) is reached with {tokens:,}"
        if search.max_hours is not None and hours >= search.max_hours:
            return f"search.max_hours ({search.max_hours:g}) is reached with {hours:.2f}"
        if search.max_cost is not None and hours * search.price_per_hour >= search.max_cost:
            return (
                f"search.max_cost ({search.max_cost:g}) is reached with {hours * search.price_per_hour:.2f}"
            )
        return ""

    def believed(self, progress: Progress) -> str:
        """What is believed of the splits, or why nothing is, in one line."""
        return _words(self._belief(progress))

    def _belief(self, progress: Progress) -> Belief | str:
        """The belief, or why there is none; computed once for each number of finished trials."""
        count = len(progress.finished)
        if count not in self._beliefs:
            self._beliefs = {count: self._believe(progress)}
        return self._beliefs[count]

    def _believe(self, progress: Progress) -> Belief | str:
        try:
            found = believe(self.records(progress), self.question, self.search.practical_margin)
        except InsufficientDataError as error:
            return str(error)
        return found or TOO_EARLY


def _words(belief: Belief | str) -> str:
    return belief if isinstance(belief, str) else belief.sentence()


def _spaced(values: Sequence[int], count: int) -> list[int]:
    """At most `count` of the increasing values, both ends among them, evenly over their logarithms."""
    if len(values) <= count:
        return list(values)
    ratio = (values[-1] / values[0]) ** (1 / (count - 1))
    wanted = [values[0] * ratio**i for i in range(count)]
    return sorted({min(values, key=lambda value: abs(value / w - 1)) for w in wanted})
