"""What a further trial tells about two splits, against fits to studies that have it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.paper import study

from search.config.cost import Split
from search.fit.ensemble import Ensemble, Member
from search.fit.least_squares import solve
from search.fit.models import Model, Points
from search.fit.observations import Observations
from search.plan.information import gap_variance

MODEL = Model("shared slope", "log prompts")
PAIR = [Split(3_000, 4), Split(4_000, 3)]


def known(observed: Observations, ratio: float) -> Ensemble:
    """One model at one ratio, as the whole average; a seed's deviation is 1."""
    solution = solve(MODEL.design(Points.of(observed), observed), observed, ratio)
    assert solution is not None
    return Ensemble(observed, (Member(MODEL, 1.0, (replace(solution, scale=1.0),), np.ones(1)),))


def at(splits: list[Split]) -> Points:
    return Points.at(splits, [2 * float(np.log(split.prompts)) for split in splits])


@pytest.mark.parametrize("ratio", [0.0, 0.3])
def test_variances_after_a_trial_are_those_of_a_study_that_has_it(ratio: float) -> None:
    observed = Observations.from_records(study(3))
    places = [Split(int(n), int(k)) for n, k in zip(observed.prompts, observed.responses, strict=True)]
    now, after = gap_variance(known(observed, ratio), at(PAIR), at(places), 2)
    assert now == pytest.approx(known(observed, ratio).forecast(at(PAIR)).gap_variance(0, 1))
    for place in range(observed.count):
        larger = replace(observed, seeds=observed.seeds + 2 * (np.arange(observed.count) == place))
        then = known(larger, ratio).forecast(at(PAIR)).gap_variance(0, 1)
        assert after[place] == pytest.approx(then)
