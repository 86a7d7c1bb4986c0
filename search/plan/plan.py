"""Which trial runs next, and when a study has decided: pure functions of what has been found so far."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

from search.config.cost import Labelling, Split
from search.config.hyperparameters import Scalar, applied
from search.config.study import StudyConfig
from search.fit.curve import DiversityCurve
from search.fit.ensemble import Candidate
from search.fit.forecast import format_probability
from search.fit.question import Question
from search.fit.question import points as splits_at
from search.plan.belief import Belief, Undecided, believe
from search.plan.held_out import cheapest_way, seeds_cannot_tell
from search.plan.information import gap_variance
from search.plan.limits import limit_reached
from search.plan.pilot import anchor, pilot
from search.plan.progress import Progress
from search.plan.space import Space
from search.plan.step import Step, Stop, Train, Wait
from search.plan.tuning import SplitTuning
from search.trials.design_point import DesignPoint, Hyperparameters, Trial
from search.trials.record import TrialRecord, pooled
from trainers.config.trainer import TrainerConfig

# Confirmation runs one trial for each of the two splits at a time: what they find decides the next.
AT_ONCE = 2

# Proposes a point, given what is fixed of it by name.
Propose: TypeAlias = Callable[[Mapping[str, Scalar]], DesignPoint]


@dataclass
class Plan:
    """Pilot, Optuna's proposals, confirmation; `curve` is the pool's diversity over its prompts.

    `further` are models that the fit counts beside its own, such as past studies.
    """

    space: Space
    curve: DiversityCurve
    further: Sequence[Candidate] = ()
    _beliefs: dict[tuple[object, ...], Belief | Undecided] = field(default_factory=dict)
    _trainers: dict[Hyperparameters, TrainerConfig] = field(default_factory=dict)
    _tuning: tuple[Progress, SplitTuning] | None = None
    _tuned_once: tuple[Progress, Hyperparameters] | None = None

    def __post_init__(self) -> None:
        self.config = self.space.config
        self.search = self.config.search
        self.question = Question(
            self.config.budget,
            self.config.cost,
            self.curve,
            tuple(sorted(self.space.fractions)),
            self.space.max_prompts,
            tuple(self.space.labellings),
        )

    def next(self, progress: Progress, propose: Propose) -> Step:
        """What to do now; `propose` is asked when it is Optuna's turn."""
        step = self._next(progress, propose)
        return Wait() if isinstance(step, Stop) and progress.running else step

    def _next(self, progress: Progress, propose: Propose) -> Step:
        if limit := limit_reached(self.search, progress):
            belief = self.belief(progress)
            return self._verdict(belief, progress) or self._undecided(limit, belief, progress)
        if left := next((t for t in progress.interrupted if not progress.has(t)), None):
            return Train(left, "it was running when the study was stopped")
        if self.search.plan == "grid":
            return self._grid(progress, self.belief(progress))
        return (
            self._hyperparameter_trials(progress, propose)
            or self._tune_cheaply(progress, propose)
            or self._pilot(progress)
            or self._after_pilot(progress, propose)
        )

    def _after_pilot(self, progress: Progress, propose: Propose) -> Step:
        """What the belief says is next."""
        belief = self.belief(progress)
        return (
            self._verdict(belief, progress)
            or self._proposed(progress, propose, belief)
            or self._tune_contenders(progress, propose, belief)
            or self._confirm(progress, belief)
        )

    def hyperparameters(self, progress: Progress) -> Hyperparameters:
        """The hyperparameters of the highest mean reward, at the split and with the seeds that all share.

        Seeds that came later are left out, so that they never turn the study to other hyperparameters.
        """
        if self._tuned_once is None or self._tuned_once[0] is not progress:
            self._tuned_once = progress, self._highest_reward(progress)
        return self._tuned_once[1]

    def _highest_reward(self, progress: Progress) -> Hyperparameters:
        rewards = {
            record.point.hyperparameters: record.reward
            for record in progress.known
            if self._at_anchor(record.point) and self.config.seed in record.seeds
        }
        own = self.space.default_hyperparameters
        return max(rewards, key=lambda found: (rewards[found], found == own), default=own)

    def records(self, progress: Progress) -> list[TrialRecord]:
        """The trials that answer the question of the split: those with the best hyperparameters, pooled.

        With `search.tune: per_split` those with a split's own best, as `SplitTuning.records` has them.
        """
        return self.tuning(progress).records() if self.per_split else self.records_once(progress)

    def records_once(self, progress: Progress) -> list[TrialRecord]:
        """The trials with the hyperparameters that were tuned at one split, pooled."""
        best, everything = self.hyperparameters(progress), [*progress.earlier, *progress.finished]
        return pooled(r for r in everything if r.group or r.point.hyperparameters == best)

    @property
    def per_split(self) -> bool:
        """Whether the contenders' hyperparameters are tuned at their own splits."""
        return self.search.tune == "per_split"

    def tuning(self, progress: Progress) -> SplitTuning:
        """What has been tuned split by split."""
        if self._tuning is None or self._tuning[0] is not progress:
            self._tuning = progress, SplitTuning(self.space, progress, self.hyperparameters(progress))
        return self._tuning[1]

    def belief(self, progress: Progress) -> Belief | Undecided:
        """What is believed of the splits; computed once for the same records."""
        records = self.records(progress)
        known = tuple((record.point, record.group, record.rewards) for record in records)
        if known not in self._beliefs:
            found = believe(records, self.question, self.search.practical_margin, further=self.further)
            self._beliefs = {known: found}
        return self._beliefs[known]

    def work(self, point: DesignPoint) -> float:
        """Responses that one training encodes, as far as they differ between points."""
        visits = self._trainer(point.hyperparameters).visits(point.prompts)
        return 1.0 if visits is None else float(visits * point.responses)

    def grid_left(self, progress: Progress) -> Iterator[Trial]:
        """What the grid has still to train: each of its points with as many seeds as the study asks for."""
        for point in self.space.grid():
            running = (trial for trial in progress.running if trial.point == point)
            had = progress.seeds_at(point) + sum(len(trial.seeds) for trial in running)
            if had < self.search.seeds and point not in progress.given_up:
                trial = self._trial(point, progress)
                yield replace(trial, seeds=trial.seeds[: self.search.seeds - had])

    # the phases, each None when it is over

    def _grid(self, progress: Progress, belief: Belief | Undecided) -> Step:
        if trial := next(self.grid_left(progress), None):
            return Train(trial, "the next point of the grid", belief)
        done = "every point of the grid is trained"
        return self._verdict(belief, progress) or self._undecided(done, belief, progress)

    def _hyperparameter_trials(self, progress: Progress, propose: Propose) -> Step | None:
        """Optuna's trials of the fields in search.space, all at one split; the default values first."""
        if not self.space.hyperparameters:
            return None
        had = [record.point for record in progress.earlier if not record.group]
        tried = [*had, *(trial.point for trial in progress.started)]
        count = sum(self._at_anchor(point) for point in tried)
        if count >= self.search.hyperparameter_trials:
            return Wait() if any(self._at_anchor(trial.point) for trial in progress.running) else None
        point = self._anchor
        why = f"hyperparameters, {count + 1} of {self.search.hyperparameter_trials} at {point.split}"
        if not count:
            return Train(self._trial(point, progress), why)
        proposed = propose(self._split_fixed(point))
        return Train(self._trial(proposed, progress), f"{why}, proposed by Optuna")

    def _split_fixed(self, point: DesignPoint) -> dict[str, Scalar]:
        """The coordinates of `point` but its hyperparameters."""
        fixed: dict[str, Scalar] = {"responses": point.responses, "selection": point.selection}
        fixed[self.space.fraction_name(point.responses, point.labelling)] = point.budget_fraction or 0.0
        fixed |= self.space.coordinates(point.labelling)
        return fixed | ({"strength": point.strength} if point.strength else {})

    def _pilot(self, progress: Progress) -> Step | None:
        points = [
            self._at_own(point, progress) for point in pilot(self.space, self.hyperparameters(progress))
        ]
        for number, point in enumerate(points, 1):
            if not self._is_settled(point, progress):
                return Train(self._trial(point, progress), f"pilot, {number} of {len(points)}")
        missing = [point for point in points if not self._judged(point, progress)]
        return Wait() if any(trial.point in missing for trial in progress.running) else None

    def _verdict(self, belief: Belief | Undecided, progress: Progress) -> Stop | None:
        """The end of the study, where the belief is sure enough and rests on trials of the whole budget."""
        if isinstance(belief, Undecided) or belief.runner_up is None:
            return None
        if belief.prob_within_margin < self.search.confidence or self._untuned(belief, progress):
            return None
        if not all(self._judged(point, progress) for point in self._required(belief, progress)):
            return None
        if belief.prob_best >= self.search.confidence:
            return Stop(f"decided: {belief.sentence()}", True, belief)
        return Stop(
            f"decided: {belief.sentence()}; no other split is better by more than "
            f"{self.search.practical_margin:g} (search.practical_margin) with probability "
            f"{format_probability(belief.prob_within_margin)}",
            True,
            belief,
        )

    def _proposed(self, progress: Progress, propose: Propose, belief: Belief | Undecided) -> Step | None:
        """Optuna's trials of the whole budget, informed by the pilot."""
        if (number := self._proposals(progress) + 1) > self.search.proposals:
            return None
        once = dict(self.hyperparameters(progress))
        fixed = self.tuning(progress).fixed() if self.per_split else once
        for labelled in self.space.labelled:
            fixed[self.space.fraction_name(*labelled)] = self.space.whole(*labelled)
        point = propose(fixed)
        if point in progress.given_up:
            return None
        why = f"{belief.sentence()}; proposed by Optuna, {number} of {self.search.proposals}"
        return Train(self._trial(point, progress), why, belief)

    def _tune_contenders(
        self, progress: Progress, propose: Propose, belief: Belief | Undecided
    ) -> Step | None:
        """Optuna's trials of the hyperparameters at the best split's and the runner-up's own budget."""
        sites = self._untuned(belief, progress)
        return self._tune_at(sites[0], progress, propose, belief) if sites else None

    def _tune_cheaply(self, progress: Progress, propose: Propose) -> Step | None:
        """Optuna's trials of the hyperparameters at each number of responses, as cheap as can be."""
        if not self.per_split:
            return None
        tuning = self.tuning(progress)
        sites = [site for site in tuning.cheap.values() if tuning.best(site) is None]
        steps = [self._tune_at(site, progress, propose) for site in sites]
        return next((step for step in steps if isinstance(step, Train)), Wait() if steps else None)

    def _tune_at(
        self,
        site: DesignPoint,
        progress: Progress,
        propose: Propose,
        belief: Belief | Undecided | None = None,
    ) -> Step:
        """The next trial that compares hyperparameters at a site: what is best elsewhere, then Optuna's."""
        tuning = self.tuning(progress)
        tried, count = tuning.tried(site), tuning.count
        if len(tried) >= count:
            return Wait()
        so_far = f"{belief.sentence()}; " if belief else ""
        why = f"{so_far}hyperparameters, {len(tried) + 1} of {count} at {site.split}"
        for known in (tuning.once, tuning.own((site.responses, site.labelling))):
            if known not in tried:
                return Train(self._trial(replace(site, hyperparameters=known), progress), why, belief)
        proposed = propose(self._split_fixed(site))
        if proposed.hyperparameters in tried:  # of a few choices Optuna names some again
            left = [one for one in self.space.combinations if one not in tried]
            proposed = replace(site, hyperparameters=left[0]) if left else proposed
        return Train(self._trial(proposed, progress), f"{why}, proposed by Optuna", belief)

    def _untuned(self, belief: Belief | Undecided, progress: Progress) -> list[DesignPoint]:
        """Where the best split's and the runner-up's hyperparameters are still to be compared."""
        if not self.per_split or isinstance(belief, Undecided):
            return []
        tuning = self.tuning(progress)
        pair = [tuning.whole((point.responses, point.labelling)) for point in self.pair(belief, progress)]
        return [site for site in dict.fromkeys(pair) if tuning.best(site) is None]

    def _at_own(self, point: DesignPoint, progress: Progress) -> DesignPoint:
        """`point` with the best hyperparameters that are known for it."""
        return replace(point, hyperparameters=self._own(point.responses, point.labelling, progress))

    def _is_settled(self, point: DesignPoint, progress: Progress) -> bool:
        """Whether a point is trained, in training, or given up; seeds that only chose do not count."""
        if not self.per_split:
            return point in progress.settled
        running = {trial.point for trial in progress.running}
        return bool(self._judged(point, progress)) or point in running | progress.given_up

    def _judged(self, point: DesignPoint, progress: Progress) -> int:
        """How often a point was trained to the end, by seeds that had no say in its hyperparameters."""
        if not self.per_split:
            return progress.seeds_at(point)
        judging = self.tuning(progress).judging
        return sum(len(judging(record).results) for record in progress.known if record.point == point)

    def _proposals(self, progress: Progress) -> int:
        """How many trials beyond the pilot's were started: Optuna's, and whatever followed them.

        Where hyperparameters are tuned per split, of the whole budget, where nothing is tuned before.
        """
        best, points = self.hyperparameters(progress), [trial.point for trial in progress.started]
        planned = pilot(self.space, best)
        if self.per_split:
            return self._at_whole(points) - self._at_whole(planned)
        points = [point for point in points if point.hyperparameters == best]
        return len(points) - len(set(points) & set(planned))

    def _at_whole(self, points: Sequence[DesignPoint]) -> int:
        """How many of the points are of the whole budget."""
        return sum(
            point.budget_fraction == self.space.whole(point.responses, point.labelling) for point in points
        )

    def _confirm(self, progress: Progress, belief: Belief | Undecided) -> Step:
        """More seeds of the best split or the runner-up: whole budget first, then where most informative."""
        if isinstance(belief, Undecided) and belief.final:
            return Stop(belief.reason, False, belief)
        if len(progress.running) >= AT_ONCE:
            return Wait()
        points = self._contenders(progress, belief)
        if reason := self._out_of_reach(belief, progress):
            return self._undecided(reason, belief, progress)
        running = {trial.point for trial in progress.running}
        free = [point for point in points if point not in progress.given_up | running]
        if not free:
            return Wait() if running else Stop(f"{points[0].label} cannot be trained", False, belief)
        point = self._most_informative(free, progress, belief)
        asked = self.search.confidence
        why = f"{belief.sentence()}, {asked:g} is asked; more seeds for {point.label}"
        return Train(self._trial(point, progress), why, belief)

    def _contenders(self, progress: Progress, belief: Belief | Undecided) -> list[DesignPoint]:
        """Where confirmation may train: the best split and the runner-up at every budget fraction.

        Only where a verdict needs them until they were trained there; every number of responses there, while
        there is no belief. Where the two differ in prompts alone, how reward bends between them is the very
        question, so that no other trial stands for theirs.
        """
        if isinstance(belief, Undecided):
            return [self._whole(*labelled, progress) for labelled in self.space.labelled]
        required = self._required(belief, progress)
        if missing := [point for point in required if not self._judged(point, progress)]:
            return missing
        if len({(point.responses, point.labelling) for point in required}) == 1:
            return required
        points = [
            self.space.point(point.responses, fraction, None, point.hyperparameters, point.labelling)
            for point in self.pair(belief, progress)
            for fraction in self.space.fractions_of(point.responses, point.labelling)
        ]
        return list(dict.fromkeys(points))

    def _out_of_reach(self, belief: Belief | Undecided, progress: Progress) -> str:
        """Why no further seed can decide between the best split and the runner-up; "" where one may."""
        if isinstance(belief, Undecided) or belief.runner_up is None:
            return ""
        if not all(self._judged(point, progress) for point in self._required(belief, progress)):
            return ""
        pair, margin = (belief.best, belief.runner_up), self.search.practical_margin
        return seeds_cannot_tell(belief, self.records(progress), pair, margin, self.search.confidence)

    def _undecided(self, reason: str, belief: Belief | Undecided, progress: Progress) -> Stop:
        """The end of a study that has not decided, with the cheapest way to where that can be told."""
        way = ""
        if not isinstance(belief, Undecided) and belief.runner_up is not None:
            pair = belief.best, belief.runner_up
            way = cheapest_way(belief, self.records(progress), pair, self.curve)
        return Stop(f"{reason}; {belief.sentence()}{way}", False, belief)

    def _most_informative(
        self, points: Sequence[DesignPoint], progress: Progress, belief: Belief | Undecided
    ) -> DesignPoint:
        """The point whose further seeds narrow the gap most for their work; else the least trained one."""
        if isinstance(belief, Undecided) or belief.ensemble is None or len(points) == 1:
            return min(points, key=progress.seeds_at)
        pair, at = (
            splits_at([point.split for point in some], self.curve)
            for some in (self.pair(belief, progress), points)
        )
        now, after = gap_variance(belief.ensemble, pair, at, self.search.seeds)
        worth = [(now - then) / self.work(point) for point, then in zip(points, after, strict=True)]
        return points[worth.index(max(worth))]

    # what the phases stand on

    @cached_property
    def _anchor(self) -> DesignPoint:
        return anchor(self.space)

    def _trainer(self, hyperparameters: Hyperparameters) -> TrainerConfig:
        """Validated once: the terminal asks for every point's work each second."""
        if hyperparameters not in self._trainers:
            self._trainers[hyperparameters] = applied(self.config.trainer, dict(hyperparameters))
        return self._trainers[hyperparameters]

    def _at_anchor(self, point: DesignPoint) -> bool:
        return (point.split, point.draw) == (self._anchor.split, self._anchor.draw)

    def pair(self, belief: Belief, progress: Progress) -> list[DesignPoint]:
        """The best split and the runner-up, as the points nearest to them."""
        splits = [belief.best] + ([belief.runner_up] if belief.runner_up else [])
        return [self._nearest(split, progress) for split in splits]

    def _required(self, belief: Belief, progress: Progress) -> list[DesignPoint]:
        """What a verdict rests on: the pair, and as many responses, labelled so, at the whole budget."""
        pair = self.pair(belief, progress)
        return list(dict.fromkeys([*(self._whole(p.responses, p.labelling, progress) for p in pair), *pair]))

    def _nearest(self, split: Split, progress: Progress) -> DesignPoint:
        """The point with as many responses, labelled so, whose number of prompts is nearest."""
        best = self._own(split.responses, split.labelling, progress)
        points = [
            self.space.point(split.responses, fraction, None, best, split.labelling)
            for fraction in self.space.fractions_of(split.responses, split.labelling)
        ]
        return min(points, key=lambda point: abs(point.prompts - split.prompts))

    def _whole(self, responses: int, labelling: Labelling, progress: Progress) -> DesignPoint:
        fraction = self.space.whole(responses, labelling)
        own = self._own(responses, labelling, progress)
        return self.space.point(responses, fraction, None, own, labelling)

    def _own(self, responses: int, labelling: Labelling, progress: Progress) -> Hyperparameters:
        """The best hyperparameters known for so many responses, labelled so."""
        if not self.per_split:
            return self.hyperparameters(progress)
        return self.tuning(progress).own((responses, labelling))

    def _trial(self, point: DesignPoint, progress: Progress) -> Trial:
        return seeded(self.config, point, progress.seeds.get(point, set()))


def seeded(config: StudyConfig, point: DesignPoint, used: Collection[int]) -> Trial:
    """`point` with the first seeds, from the study's own on, that it has not been trained with."""
    free = (seed for seed in range(config.seed, config.seed + len(used) + config.search.seeds))
    fresh = [seed for seed in free if seed not in used]
    return Trial(point, tuple(fresh[: config.search.seeds]))
