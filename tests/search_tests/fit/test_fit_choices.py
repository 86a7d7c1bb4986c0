"""Which responses: a choice is recommended only where it is surely better than random, and all says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factories import planned, record

from base.errors import InsufficientDataError
from pools.response_choice import ResponseChoice
from search.advice.analysis import StudyAnalysis, analyse
from search.config.cost import CostModel, Split
from search.fit.curve import DiversityCurve
from search.fit.decision import best_first
from search.fit.forecast import Forecast
from search.fit.question import Question
from search.report.report import write_report
from search.trials.record import TrialRecord
from search.trials.trials_csv import read_trials, write_trials

CURVE = DiversityCurve((10, 100, 1_000, 10_000), (4.0, 8.0, 12.0, 16.0))
BUDGET = 4_800


def trials(noise: float = 0.001, **gains: float) -> list[TrialRecord]:
    """Rewards on lines in log prompts; each choice of responses adds its gain."""
    generator, found = np.random.default_rng(7), []
    for choice, gain in gains.items():
        for k in (2, 4):
            for fraction in (0.25, 0.5, 1.0):
                n = int(fraction * BUDGET / k)
                truth = 0.4 + 0.004 * k + 0.01 * np.log(n / 1000) + gain
                trial = planned(n, k, (0, 1, 2), response_choice=choice, budget_fraction=fraction)
                rewards = truth + generator.normal(0, noise, 3)
                found.append(record(trial, *rewards, cost=n * k, diversity=CURVE.at(n)))
    return found


def study(records: list[TrialRecord]) -> StudyAnalysis:
    return analyse("s", records, Question(BUDGET, CostModel(), CURVE, (2, 3, 4), 100_000))


def test_a_choice_that_is_surely_better_is_recommended(tmp_path: Path) -> None:
    found = study(trials(random=0.0, spread=0.02, far=-0.01))
    answer = found.recommendation
    assert answer is not None and answer.best.split.response_choice == "spread"
    assert "spread +0.0" in answer.labelling and "far -0.0" in answer.labelling
    plain = answer.to_dict()
    assert plain["recommended"]["response_choice"] == "spread"
    assert plain["headline"].endswith("spread responses") and " spread:" in plain["sentence"]
    page = write_report(tmp_path, found).read_text()
    assert "choice of responses: spread" in page and (tmp_path / "plots/reward_by_choice.png").exists()
    assert "only where its interval excludes 0" in page


def test_a_choice_that_may_be_lucky_is_named_and_not_recommended() -> None:
    records = trials(0.01, random=0.0, spread=0.01)
    answer = study(records).recommendation
    assert answer is not None
    ahead = max(answer.splits, key=lambda split: split.predicted_reward)
    assert ahead.split.response_choice == "spread"  # else the case is not the one that is meant
    assert answer.best.split.response_choice == "random"
    assert answer.runner_up is not None and answer.flags["undecided"]
    assert "is predicted" in answer.sentence() and "more seeds" in answer.sentence()
    views = answer.cost_models
    assert all(view.splits[0].response_choice == "random" for view in views)


def test_random_wins_ties_and_equal_choices_add_nothing_to_the_models() -> None:
    one = study(trials(random=0.0))
    assert one.fit and one.recommendation and one.recommendation.labelling == ""
    assert not any(name.endswith("apart") for name in one.fit.to_dict()["weights"])
    alone = study(trials(spread=0.0))
    assert alone.fit and alone.recommendation
    assert alone.recommendation.labelling == "Responses were chosen in one way alone: spread."
    assert [row.coefficients for row in alone.fit.table] == [row.coefficients for row in one.fit.table]


def test_only_an_interval_above_zero_puts_a_choice_first() -> None:
    """Two splits, one error: 1.9 standard errors are not enough, 2.1 are."""
    splits = [Split(10, 2), Split(10, 2, response_choice="spread"), Split(5, 4)]

    def ordered(gap: float) -> list[int]:
        mean = np.array([[0.5, 0.5 + gap, 0.4]])
        forecast = Forecast(np.ones(1), mean, np.diag([0.5e-4, 0.5e-4, 1e-4])[None], np.array([1e6]))
        return best_first(forecast, splits)

    assert ordered(0.019) == [0, 1, 2] and ordered(0.021) == [1, 0, 2] and ordered(-0.1) == [0, 1, 2]


def test_the_table_of_trials_keeps_the_choice(tmp_path: Path) -> None:
    records = trials(random=0.0, spread=0.01)
    write_trials(tmp_path / "t.csv", records)
    found = {one.point for one in read_trials(tmp_path / "t.csv")}
    assert found == {replace(one.point, budget_fraction=None) for one in records}
    write_trials(tmp_path / "plain.csv", trials(random=0.0))
    text = (tmp_path / "plain.csv").read_text()
    assert "response_choice" not in text
    (tmp_path / "odd.csv").write_text((tmp_path / "t.csv").read_text().replace("spread", "spred"))
    with pytest.raises(InsufficientDataError, match="'spred' is none of random, spread, close, far"):
        read_trials(tmp_path / "odd.csv")


def test_keys_of_trials_with_random_responses_stay_as_they_were() -> None:
    plain = planned(10, 2).to_dict()["point"]
    assert "response_choice" not in plain
    choice: ResponseChoice = "close"
    assert planned(10, 2, response_choice=choice).key("s") != planned(10, 2).key("s")
