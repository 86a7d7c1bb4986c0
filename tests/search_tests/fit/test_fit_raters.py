"""How many raters: what the fit makes of trials that differ in them, and what is said where none do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.varied_raters import BUDGET, CURVE, trials

from search.advice.analysis import StudyAnalysis, analyse
from search.config.cost import CostModel, Split
from search.fit.question import Question, predict
from search.report.report import write_report
from search.trials.record import TrialRecord
from search.trials.trials_csv import read_trials, write_trials


def study(records: list[TrialRecord]) -> StudyAnalysis:
    return analyse("s", records, Question(BUDGET, CostModel(), CURVE, (2, 3, 4), 100_000))


def test_a_planted_gain_is_found_and_decides() -> None:
    # Three times the prompts are worth 0.01 x log 3 = 0.011: log2(3) doublings of 0.012 are worth more.
    found, other = study(trials(0.012)), study(trials(0.002))
    assert found.recommendation and other.recommendation and found.fit and other.fit
    assert found.recommendation.best.split == Split(400, 4, 3)
    assert other.recommendation.best.raters == 1
    pair = predict(found.fit, [Split(400, 4, 3), Split(400, 4, 1)], CURVE, own=False)
    low, high = pair.combine(np.array([[1.0, -1.0]])).interval()
    assert low[0] <= 0.012 * np.log2(3) <= high[0] and high[0] - low[0] < 0.006


def test_every_part_of_the_answer_names_raters_and_the_assumption(tmp_path: Path) -> None:
    found = study(trials(0.012))
    assert found.recommendation is not None
    answer = found.recommendation.to_dict()
    assert answer["recommended"] == {"prompts": 400, "responses": 4, "raters": 3}
    assert answer["headline"] == "Label 400 prompts x 4 responses x 3 raters"
    assert "label 400 x 4 x 3" in answer["sentence"] and "assumed agreement 0.75" in answer["sentence"]
    assert "1 and 3 raters" in answer["sentence"] and answer["flags"]["raters_edge"]
    page = write_report(tmp_path, found).read_text()
    assert page.count("assumed agreement 0.75") >= 2 and (tmp_path / "plots/reward_by_raters.png").exists()


def test_costs_count_raters_at_equal_annotations() -> None:
    found = study(trials(0.012))
    assert found.recommendation is not None
    for split in found.recommendation.splits:
        assert split.cost == split.prompts * split.responses * (split.raters or 0) <= BUDGET
    assert {s.raters for s in found.recommendation.splits} == {1, 3}


def test_where_raters_were_not_varied_the_answer_says_so() -> None:
    fixed = study(trials(0.0, raters=(3,)))
    assert fixed.recommendation is not None
    assert "raters were not varied: 3 a response" in fixed.recommendation.sentence()
    plain = study(trials(0.0, raters=(None,), agreement=None))
    assert plain.recommendation is not None and plain.recommendation.labelling == ""
    assert "how many raters give them was not varied" in " ".join(plain.recommendation.assumptions)
    assert "raters" not in plain.recommendation.to_dict()["recommended"]


def test_equal_raters_add_no_coefficient_and_no_model() -> None:
    """Trials that do not differ in raters are fitted as if none were named."""
    plain, fixed = study(trials(0.0, (None,), None)), study(trials(0.0, (3,)))
    assert plain.fit and fixed.fit
    assert plain.fit.to_dict()["weights"].keys() == fixed.fit.to_dict()["weights"].keys()
    sizes = [row.coefficients for row in plain.fit.table]
    assert sizes == [row.coefficients for row in fixed.fit.table]
    assert max(row.coefficients for row in study(trials(0.0)).fit.table) == max(sizes) + 1  # type: ignore[union-attr]


def test_the_table_of_trials_keeps_raters(tmp_path: Path) -> None:
    records = trials(0.01)
    write_trials(tmp_path / "t.csv", records)
    found = {one.point for one in read_trials(tmp_path / "t.csv")}
    assert found == {replace(one.point, budget_fraction=None) for one in records}
    write_trials(tmp_path / "plain.csv", trials(0.0, (None,), None))
    assert "raters" not in (tmp_path / "plain.csv").read_text().splitlines()[0]


def test_a_gain_that_is_not_one_of_doublings_is_seen_too() -> None:
    """Two raters are worth no more than one, as for pairs whose ties teach nothing; three are."""
    records = trials(0.0, (1, 2, 3))
    moved = [
        replace(one, results=tuple(replace(r, reward=r.reward + 0.02) for r in one.results))
        if one.raters == 3
        else one
        for one in records
    ]
    found = study(moved)
    assert found.fit and found.recommendation and found.recommendation.best.raters == 3
    levels = sum(w for name, w in found.fit.to_dict()["weights"].items() if name.endswith("labelling apart"))
    assert levels > 0.9
    two = Split(600, 4, 2)
    forecast = predict(found.fit, [two, Split(1200, 4, 1)], CURVE, own=False)
    assert forecast.mean[1] - forecast.mean[0] == pytest.approx(0.01 * np.log(2), abs=0.002)
