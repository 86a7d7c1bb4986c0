"""What further trials are expected to tell, against fits to studies that have them."""

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
from search.plan.information import expected_gains, gap_variances

MODEL = Model("shared slope", "log prompts")
ANSWERS = [Split(3_000, 4), Split(4_000, 3), Split(6_000, 2)]


def known(observed: Observations, ratio: float, scale: float = 1.0) -> Ensemble:
    """One model at one ratio, as the whole average; a seed's deviation is `scale`."""
    solution = solve(MODEL.design(Points.of(observed), observed), observed, ratio)
    assert solution is not None
    return Ensemble(observed, (Member(MODEL, 1.0, (replace(solution, scale=scale),), np.ones(1)),))


def at(splits: list[Split]) -> Points:
    return Points.at(splits, [2 * float(np.log(split.prompts)) for split in splits])


def gaps(ensemble: Ensemble) -> list[float]:
    """Variances of the gaps between the first answer and the others, from the joint belief."""
    covariance = ensemble.forecast(at(ANSWERS)).covariances[0]
    return [covariance[0, 0] + covariance[i, i] - 2 * covariance[0, i] for i in (1, 2)]


@pytest.mark.parametrize("ratio", [0.0, 0.3])
def test_variances_after_a_trial_are_those_of_a_study_that_has_it(ratio: float) -> None:
    observed = Observations.from_records(study(3))
    places = [Split(int(n), int(k)) for n, k in zip(observed.prompts, observed.responses, strict=True)]
    seeds = np.arange(1.0, observed.count + 1)
    now, after = gap_variances(known(observed, ratio), at(ANSWERS), at(places), seeds)
    assert now == pytest.approx(gaps(known(observed, ratio)))
    for place, more in enumerate(seeds):
        larger = replace(observed, seeds=observed.seeds + more * (np.arange(observed.count) == place))
        assert after[place] == pytest.approx(gaps(known(larger, ratio)))


def test_a_trial_gains_what_its_news_are_worth() -> None:
    """The mean of the best of two answers, over draws of how far the trial moves their gap."""
    observed = Observations.from_records(study(3))
    ensemble, pair, place = known(observed, 0.3, scale=0.02), at(ANSWERS[:2]), at(ANSWERS[1:2])
    now, after = gap_variances(ensemble, pair, place, np.full(1, 2.0))
    moved = np.random.default_rng(0).normal(0, float(now[0] - after[0, 0]) ** 0.5, 400_000)
    gain = expected_gains(ensemble, pair, np.full(1, 0.004), place, np.full(1, 2.0))
    assert gain[0] == pytest.approx(np.maximum(moved - 0.004, 0).mean(), rel=0.02)


def test_more_seeds_gain_more_and_none_gain_nothing() -> None:
    observed = Observations.from_records(study(3))
    places, leads = at([ANSWERS[1]] * 3), np.array([0.004, 0.03])
    gains = expected_gains(known(observed, 0.3, 0.02), at(ANSWERS), leads, places, np.array([0.0, 1.0, 9.0]))
    assert gains[0] == pytest.approx(0, abs=1e-12) and 0 < gains[1] < gains[2]
