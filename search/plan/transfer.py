"""Which trial of another setting runs next, once the study's own search is over: a small replication.

Under each setting of `transfer` the contenders (the best split, the runner-up, one far split) are trained
once, with the study's seeds. Then the best split and whichever other has the highest mean there get more
seeds, as in the study's own confirmation, until it is settled that the best split is still as good as any, or
that another one is better, or `transfer.trials` have run. The trials carry the setting's name, and nothing in
the study's own fit sees them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log

from search.config.transfer import Setting
from search.fit.target import believe_target
from search.plan.belief import Belief
from search.plan.limits import amount_reached
from search.plan.plan import AT_ONCE, Plan, seeded
from search.plan.progress import Progress
from search.plan.step import Train, Wait
from search.trials.design_point import DesignPoint
from search.trials.record import TrialRecord


class TransferPlan:
    """The trials that `plan`'s advice is tried with elsewhere; without settings there are none."""

    def __init__(self, plan: Plan) -> None:
        self._plan, self.config = plan, plan.config.transfer
        self.settings = self.config.settings

    def next(self, own: Progress, elsewhere: Progress) -> Train | Wait | None:
        """The next trial; None where none is left, a limit is reached, or the study has no advice.

        `own` is what the study's own search has done, `elsewhere` its trials under other settings.
        """
        contenders = self.contenders(own) if self.settings else []
        everything = [*own.finished, *elsewhere.finished]
        if len(contenders) < 2 or amount_reached(self._plan.search, everything):
            return Wait() if elsewhere.running else None
        steps = [self._under(setting, contenders, elsewhere) for setting in self.settings]
        ready = [step for step in steps if isinstance(step, Train)]
        if ready:
            return ready[0]
        return Wait() if elsewhere.running else None

    def left(self, elsewhere: Progress) -> int:
        """How many more trials there may be at most."""
        return max(len(self.settings) * self.config.trials - len(elsewhere.started), 0)

    def contenders(self, own: Progress) -> list[DesignPoint]:
        """The best split, the runner-up and a far one, as points of the study; none without advice."""
        belief = self._plan.belief(own)
        if not isinstance(belief, Belief):
            return []
        pair = list(dict.fromkeys(self._plan.pair(belief, own)))
        far = self._far(pair)
        return [*pair, *([far] if far else [])]

    def _far(self, pair: Sequence[DesignPoint]) -> DesignPoint | None:
        """Of the whole budget the split whose responses differ most; else the smallest fraction's."""
        space, best = self._plan.space, pair[0]
        labelling = best.labelling
        others = [k for k in space.fractions if k not in {point.responses for point in pair}]
        if others:
            k = max(others, key=lambda k: abs(log(k / best.responses)))
            return space.point(k, space.whole(k, labelling), None, best.hyperparameters, labelling)
        k = best.responses
        smallest = space.point(k, space.fractions_of(k, labelling)[0], None, best.hyperparameters, labelling)
        return None if smallest in pair else smallest

    def _under(
        self, setting: Setting, contenders: Sequence[DesignPoint], elsewhere: Progress
    ) -> Train | Wait | None:
        """The next trial under one setting; None where that is settled."""
        points = [under(setting, point) for point in contenders]
        started = [trial for trial in elsewhere.started if trial.point.transfer == setting.name]
        running = [trial for trial in elsewhere.running if trial.point.transfer == setting.name]
        for number, point in enumerate(points, 1):
            if point not in elsewhere.settled:
                return self._train(
                    point, elsewhere, f"does it carry over to {setting.name}? {number} of {len(points)}"
                )
        finished = [record for record in elsewhere.finished if record.point.transfer == setting.name]
        free = [point for point in points if point not in elsewhere.given_up]
        if len(started) >= self.config.trials or points[0] not in free or len(free) < 2:
            return None
        if len(running) >= AT_ONCE or not set(free) <= {record.point for record in finished}:
            return Wait()
        return self._confirm(setting, free, finished, elsewhere)

    def _confirm(
        self,
        setting: Setting,
        points: Sequence[DesignPoint],
        finished: Sequence[TrialRecord],
        elsewhere: Progress,
    ) -> Train | Wait | None:
        """More seeds of the advised split or its runner-up, whichever has fewer."""
        target = believe_target(finished, [p.split for p in points], self._plan.search.practical_margin)
        pair = list(points)
        why = f"does it carry over to {setting.name}? its noise is not known yet"
        if target is not None:
            if target.verdict(self._plan.search.confidence) != "open":
                return None
            pair = [points[0], points[target.runner_up]]
            why = (
                f"does it carry over to {setting.name}? {points[0].split} is as good as any there with "
                f"probability {target.still_best:.2f}; more seeds"
            )
        seeds = {point: len(elsewhere.seeds.get(point, ())) for point in pair}
        return self._train(min(pair, key=lambda point: seeds[point]), elsewhere, why)

    def _train(self, point: DesignPoint, elsewhere: Progress, why: str) -> Train:
        return Train(seeded(self._plan.config, point, elsewhere.seeds.get(point, set())), why)


def under(setting: Setting, point: DesignPoint) -> DesignPoint:
    """`point` with that one setting changed, tagged with its name."""
    changed = dict(point.hyperparameters) | {setting.axis.hyperparameter: setting.value}
    return replace(point, hyperparameters=tuple(sorted(changed.items())), transfer=setting.name)
