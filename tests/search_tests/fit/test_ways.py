"""Ways to tell two splits apart: the cheapest comes first, each at its time, and none that would not do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from factories import planned, record
from support.paper import like_paper_curve, study

from search.advice.recommend import more_seeds
from search.config.cost import Split
from search.fit.fit import fit_trials
from search.fit.noise import Component, NoiseBudget
from search.fit.question import predict
from search.fit.ways import MOST, Gap, Pace, gap_of

# An hour of training, of which a tenth is judging.
GAP = Gap(
    pair=(Split(24, 8), Split(96, 2)),
    size=0.03,
    known=0.0016,
    seed=0.0016,
    judged=0.5,
    floor=0.0,
    held_out=100,
    seeds=2.0,
    pace=Pace(each=1.0, judging=0.1),
)


def variance(gap: Gap, seeds: int, prompts: int, generator: np.random.Generator) -> float:
    """Of the gap over simulated studies with so many seeds in all, on newly drawn held-out prompts."""
    few, times = gap.held_out / prompts, 40_000
    training, judging = gap.seed * (1 - gap.judged), gap.seed * gap.judged * few
    each = generator.normal(0, ((training + judging) / seeds) ** 0.5, (2, times))
    return float(np.var(each[0] - each[1] + generator.normal(0, (gap.floor * few) ** 0.5, times)))


@pytest.mark.parametrize("gap", [GAP, replace(GAP, judged=0.9), replace(GAP, floor=0.00005)])
@pytest.mark.parametrize("prompts", [100, 400])
def test_so_many_seeds_bring_the_gap_down_to_what_is_wanted_and_one_less_does_not(
    gap: Gap, prompts: int
) -> None:
    more, generator = gap.seeds_wanted(prompts), np.random.default_rng(0)
    assert more is not None and more > 0
    assert variance(gap, 2 + more, prompts, generator) < gap.wanted * 1.02
    assert variance(gap, 1 + more, prompts, generator) > gap.wanted * 0.98


def test_where_training_is_the_noise_seeds_are_cheapest() -> None:
    ways = replace(GAP, judged=0.02).ways()
    assert ways[0].prompts == 0 and ways[0].seeds > 0
    assert ways[0].hours == pytest.approx((2 * ways[0].seeds,) * 2)
    assert f"{ways[0].seeds} more seeds of 24 x 8 and of 96 x 2, about" in ways[0].sentence()


def test_where_judging_is_the_noise_more_held_out_prompts_are_cheapest() -> None:
    way, other = replace(GAP, judged=0.95).ways()
    assert way.prompts > 0 and other.prompts == 0 and way.hours < other.hours
    each, times = 2 + way.seeds, 1 + way.prompts / 100
    assert way.hours == pytest.approx((2 * each * (0.9 + 0.1 * times),) * 2)
    assert f"{way.prompts:,} more held-out prompts, {each} seeds of 24 x 8" in way.sentence()
    assert f"every training is judged {6 * (times - 1):.2g} min longer" in way.sentence()


def test_what_the_held_out_prompts_add_no_seeds_take_away() -> None:
    gap = replace(GAP, floor=GAP.wanted * 1.5)
    assert gap.seeds_wanted(gap.held_out) is None
    (way,) = gap.ways()
    assert way.prompts > 50  # half as many again leave no room for the seeds
    assert replace(GAP, floor=GAP.wanted * MOST).ways() == []


def test_time_of_judging_that_is_not_known_is_none_of_it_or_all_of_it() -> None:
    way = next(way for way in replace(GAP, judged=0.95, pace=Pace(1.0, None)).ways() if way.prompts)
    trainings = 2 * (2 + way.seeds)
    assert way.hours == pytest.approx((trainings, trainings * (1 + way.prompts / 100)))
    assert "how long judging takes is not known" in way.sentence()


def test_pace_is_that_of_the_trials_and_knows_judging_only_where_all_tell_it() -> None:
    told = record(planned(24, 8), 0.4, 0.5, seconds=7200, telemetry={"seconds_evaluate": 360.0})
    silent = record(planned(96, 2), 0.4, 0.5, seconds=3600)
    assert Pace.of([told]) == Pace(1.0, 0.1)
    assert Pace.of([told, silent]) == Pace(0.75, None)


def test_on_the_same_prompts_the_seeds_are_those_of_the_recommendation() -> None:
    records = study(1, noise=0.01)
    fit, pair = fit_trials(records), (Split(3_000, 4), Split(4_000, 3))
    forecast = predict(fit, pair, like_paper_curve())
    assert fit.ensemble is not None
    some = Component(0.0004, (0.0002, 0.0008), 18)
    noise = NoiseBudget(draw=None, training=some, judging=some, apart=0.0016, held_out=60, trainings=27)
    gap = gap_of(pair, forecast, fit.ensemble.seed_variance, noise, None, fit.records)
    assert gap is not None and gap.seeds == 3
    assert gap.seeds_wanted(60) == more_seeds(fit, forecast, 0, 1) == 16
    few = replace(noise, training=replace(some, df=3))
    assert gap_of(pair, forecast, fit.ensemble.seed_variance, few, None, fit.records) is None
