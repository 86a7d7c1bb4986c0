"""The small designs that a study starts with: where hyperparameters are compared, and the pilot."""

from __future__ import annotations

from collections.abc import Sequence

from search.plan.space import Space
from search.trials.design_point import DesignPoint, Hyperparameters

# The pilot tries at most so many numbers of responses; the rest are interpolated until they matter.
LEVELS = 5


def anchor(space: Space) -> DesignPoint:
    """Where hyperparameters are compared: a middle number of responses, at the largest fraction up to 1/2."""
    levels = sorted(space.fractions)
    middle = levels[len(levels) // 2]
    fractions = space.fractions[middle]
    return space.point(middle, max((one for one in fractions if one <= 0.5), default=fractions[0]))


def pilot(space: Space, hyperparameters: Hyperparameters) -> list[DesignPoint]:
    """A small design, cheap budget fractions first, that identifies the fit's lines.

    Numbers of responses at the smallest fraction, then at the largest below the whole budget (at the whole
    budget for the two ends, where there is none between), then one point for each other way of drawing
    prompts, and two for each further way of labelling.
    """
    levels = _spaced(sorted(space.fractions), LEVELS)
    ends = levels[0], levels[-1]
    cheap = [(k, space.fractions[k][0]) for k in levels]
    dear = [
        (k, space.fractions[k][-2] if len(space.fractions[k]) > 2 else space.fractions[k][-1])
        for k in levels
        if len(space.fractions[k]) > 2 or k in ends
    ]
    points = [space.point(k, fraction, None, hyperparameters) for k, fraction in cheap + dear]
    middle = levels[len(levels) // 2]
    for draw in space.draws[1:]:
        points.append(space.point(middle, space.fractions[middle][0], draw, hyperparameters))
    for labelling in space.labellings[1:]:
        fractions = space.fractions_of(middle, labelling)
        for fraction in (fractions[0], fractions[-2] if len(fractions) > 2 else fractions[-1]):
            points.append(space.point(middle, fraction, None, hyperparameters, labelling))
    return list(dict.fromkeys(points))


def _spaced(values: Sequence[int], count: int) -> list[int]:
    """At most `count` of the increasing values, both ends among them, evenly over their logarithms."""
    if len(values) <= count:
        return list(values)
    ratio = (values[-1] / values[0]) ** (1 / (count - 1))
    wanted = [values[0] * ratio**i for i in range(count)]
    return sorted({min(values, key=lambda value: abs(value / w - 1)) for w in wanted})
