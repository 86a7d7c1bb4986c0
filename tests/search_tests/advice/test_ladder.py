"""Forecasts for a size of model that was not trained: they follow a trend, widen, and say where they end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.paper import like_paper_curve, trial

from search.advice.analysis import StudyAnalysis, analyse
from search.advice.carry_over import CarryOver, carry_over
from search.advice.ladder import Ladder
from search.config.cost import CostModel, Split
from search.fit.question import Question
from search.report.report import write_report
from search.trials.record import TrialRecord

CURVE = like_paper_curve()
CONTENDERS = ((12_000, 4), (16_000, 3), (24_000, 2))
OWN = 1e8


def sized(record: TrialRecord, parameters: float, model: str = "") -> TrialRecord:
    results = tuple(replace(one, telemetry={"parameters": parameters}) for one in record.results)
    if not model:
        return replace(record, results=results)
    point = replace(record.point, transfer=f"model {model}", hyperparameters=(("model.name", model),))
    return replace(record, results=results, point=point)


def study(gain: float = 0.02) -> StudyAnalysis:
    """At the study's size one more response is worth `gain`."""
    generator, found = np.random.default_rng(1), []
    for k in (2, 3, 4):
        for n in (3_000, 6_000, 12_000, 24_000):
            mean = 0.4 + 0.005 * CURVE.at(n) + gain * k
            rewards = tuple((mean + generator.normal(0, 0.001, 2)).tolist())
            found.append(sized(trial(n, k, rewards, diversity=CURVE.at(n)), OWN))
    return analyse("a study", found, Question(48_000, CostModel(), CURVE, (2, 3, 4), None))


def at(parameters: float, gain: float, draw: int = 2) -> list[TrialRecord]:
    """The contenders with a model of another size, where one more response is worth `gain`."""
    generator, found = np.random.default_rng(draw), []
    for n, k in CONTENDERS:
        rewards = tuple((0.5 + gain * k + generator.normal(0, 0.001, 4)).tolist())
        found.append(sized(trial(n, k, rewards, diversity=CURVE.at(n)), parameters, f"org/{parameters:g}"))
    return found


def carried(records: list[TrialRecord], target: float | None, of: StudyAnalysis | None = None) -> CarryOver:
    of = of or study()
    assert of.fit is not None
    return carry_over(
        records,
        of.fit,
        of.question,
        Split(12_000, 4),
        margin=0.002,
        confidence=0.95,
        target_parameters=target,
    )


def forecast(records: list[TrialRecord], target: float) -> Ladder:
    found = carried(records, target).ladder
    assert found is not None
    return found


def to_two(found: Ladder) -> tuple[float, float, float]:
    return found.leads[found.splits.index(Split(24_000, 2))]


def test_a_trend_over_sizes_goes_on_and_its_interval_widens() -> None:
    # The lead of 4 responses over 2 shrinks by 0.02 with each decade, and is gone two decades up.
    tried = [*at(10**8.5, 0.015), *at(1e9, 0.01)]
    within, near, far = (forecast(tried, size) for size in (10**8.75, 10**9.5, 1e11))
    assert not within.extrapolated and near.extrapolated and far.extrapolated
    here = study()
    assert here.fit is not None
    assert to_two(within)[0] < to_two(near)[0] < to_two(far)[0]
    widths = [to_two(one)[2] - to_two(one)[1] for one in (within, near, far)]
    assert widths[0] < widths[1] < widths[2]
    assert within.still_best > 0.95 > far.still_best
    assert "extrapolated beyond them" in far.sentence() and "extrapolated" not in within.sentence()


def test_sizes_that_agree_are_believed_there_and_less_so_far_away() -> None:
    tried = at(1e9, 0.02)
    there, far = forecast(tried, 1e9), forecast(tried, 1e12)
    assert there.still_best > 0.99 and there.sizes == (OWN, 1e9)
    low, high = to_two(there)[1:]
    assert low < to_two(there)[0] < high < 0
    assert to_two(far)[2] - to_two(far)[1] > 3 * (high - low)


@pytest.mark.parametrize("target", [None, 1e9])
def test_there_is_no_forecast_without_a_target_or_a_second_size(target: float | None) -> None:
    same = [replace(one, point=replace(one.point, hyperparameters=())) for one in at(1e9, 0.02)]
    assert carried(same if target else at(1e9, 0.02), target).ladder is None
    assert carried(at(OWN, 0.02), target).ladder is None


def test_the_forecast_is_in_the_section_and_the_file(tmp_path: Path) -> None:
    of = study()
    found = carried(at(1e9, 0.02), 7e9, of)
    html = write_report(tmp_path, replace(of, carried=found)).read_text()
    assert (
        "At 7B parameters (from models of 100M, 1B, extrapolated beyond them) 12,000 x 4 is as good" in html
    )
    kept = found.to_dict()["ladder"]
    assert kept["target"] == 7e9 and kept["extrapolated"] and len(kept["leads"]) == 2
