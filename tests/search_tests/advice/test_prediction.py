"""What earlier trials predicted of a study's own, beside what came."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.paper import study, trial

from search.advice.analysis import analyse
from search.advice.prediction import check_predictions, verdict
from search.config.cost import CostModel, Split
from search.fit.curve import DiversityCurve
from search.fit.fit import fit_trials
from search.fit.question import Question, predict
from search.trials.record import TrialRecord, pooled


def as_earlier(records: list[TrialRecord], group: str = "") -> list[TrialRecord]:
    return [replace(r, earlier=dict.fromkeys(r.seeds, "theirs"), group=group) for r in records]


def truth(prompts: int, responses: int) -> float:
    return 0.3 + 0.01 * float(np.log(prompts / 1000)) + 0.02 * responses


def test_each_own_trial_is_predicted_from_the_earlier_ones_alone() -> None:
    own = trial(2_000, 3, (truth(2_000, 3), truth(2_000, 3) + 0.002))
    [check] = check_predictions([*as_earlier(study(3)), own])
    assert check.label == "2,000 x 3" and check.seeds == 2 and check.held
    assert check.observed == pytest.approx(own.reward)
    assert abs(check.predicted - truth(2_000, 3)) < 0.01
    # What the own trial shows does not enter its own prediction.
    [far] = check_predictions([*as_earlier(study(3)), trial(2_000, 3, (0.9, 0.9))])
    assert far.predicted == check.predicted and far.interval_95 == check.interval_95 and not far.held
    assert far.sentence().endswith("observed 0.900: outside")
    assert verdict([check, far]).startswith("The earlier trials alone predicted 1 of this study's 2 trials")


def test_more_seeds_of_an_earlier_point_are_parted_from_it() -> None:
    earlier = as_earlier(study(3))
    more = trial(1_500, 2, (0.4, 0.41), diversity=earlier[0].diversity)
    more = replace(more, results=tuple(replace(r, seed=r.seed + 10) for r in more.results))
    [check] = check_predictions(pooled([*earlier, more]))
    assert (check.seeds, check.observed) == (2, pytest.approx(0.405))


def test_intervals_of_a_mean_narrow_with_its_seeds_and_hold_as_often_as_they_say() -> None:
    held, widths = [], dict[int, list[float]]()
    for number in range(30):
        generator = np.random.default_rng([number, 1])
        drawn = {n: truth(n, 3) + generator.normal(0, 0.005, seeds) for n, seeds in ((2_000, 1), (2_100, 4))}
        own = [trial(n, 3, tuple(float(r) for r in rewards)) for n, rewards in drawn.items()]
        for check in check_predictions([*as_earlier(study(number)), *own]):
            held.append(check.held)
            widths.setdefault(check.seeds, []).append(check.interval_95[1] - check.interval_95[0])
    assert len(held) == 60
    assert np.mean(widths[4]) < 0.8 * np.mean(widths[1])
    assert 0.9 <= np.mean(held) <= 1.0


def test_nothing_is_checked_without_both_kinds_or_without_a_line() -> None:
    records = study(3)
    assert check_predictions(records) == () == check_predictions(as_earlier(records))
    one_size = as_earlier([trial(1_000, k, (0.4, 0.41)) for k in (2, 3)])
    assert check_predictions([*one_size, trial(500, 2, (0.4, 0.41))]) == () and verdict([]) == ""


def test_a_group_of_its_own_is_moved_by_one_offset() -> None:
    low = [replace(r, results=tuple(replace(s, reward=s.reward - 0.1) for s in r.results)) for r in study(4)]
    own = [r for r in study(5) if r.prompts in (1_500, 6_000, 3_000)]
    records = [*as_earlier(low, group="theirs"), *own]
    fit = fit_trials(records)
    splits = [Split(6_000, 2), Split(4_000, 3), Split(3_000, 4)]
    forecast = predict(fit, splits, DiversityCurve.from_trials(records))
    wanted = [truth(s.prompts, s.responses) for s in splits]
    assert np.abs(forecast.mean - wanted).max() < 0.012
    # Without the group the offset would pass for something else.
    mixed = fit_trials([*as_earlier(low), *own])
    assert np.abs(predict(mixed, splits, DiversityCurve.from_trials(records)).mean - wanted).max() > 0.03
    assert check_predictions(records) == ()


def test_an_offset_cannot_be_told_without_own_trials() -> None:
    assert fit_trials(as_earlier(study(4), group="theirs")).ensemble is None


def test_the_analysis_keeps_the_checks() -> None:
    records = [*as_earlier(study(3)), trial(2_000, 3, (0.37, 0.372))]
    question = Question(12_000, CostModel(), DiversityCurve.from_trials(records), (2, 3, 4), None)
    found = analyse("a study", records, question)
    [kept] = found.results()["recommendation.json"]["predictions"]
    assert kept["label"] == "2,000 x 3" and kept["held"] == found.checks[0].held
