"""How much higher or lower groups of trials lie."""

from __future__ import annotations

import pytest
from support.paper import group, study, trial

from search.config.scale import UNIT
from search.fit.fit import fit_trials
from search.fit.offsets import Offset
from search.prior.candidate import further_models


def test_each_group_lies_by_its_own_amount_with_an_interval_that_holds_it() -> None:
    made = {"runs/theirs": 0.05, "runs/again": -0.03}
    records = [*study(1), *(one for i, (g, by) in enumerate(made.items()) for one in group(g, by, 2 + i))]
    fit = fit_trials(records)
    assert {offset.group for offset in fit.offsets} == made.keys()
    for offset in fit.offsets:
        low, high = offset.interval_95
        assert low < made[offset.group] < high and high - low < 0.02
        assert offset.amount == pytest.approx(made[offset.group], abs=0.005)
    kept = fit.to_dict()["groups"]
    assert [one["group"] for one in kept] == ["runs/again", "runs/theirs"] and kept[1]["amount"] > 0
    assert [line[: len("Trials of runs/again lie")] for line in fit.summary().splitlines()[-2:]] == [
        "Trials of runs/again lie", "Trials of runs/theirs li",
    ]  # fmt: skip


def test_past_studies_count_beside_groups_too() -> None:
    records = [*study(1), *group("runs/theirs", 0.05, 2)]
    fit = fit_trials(records, further=further_models("studies"))
    assert fit.ensemble is not None
    assert {m.model.structure for m in fit.ensemble.members} >= {"past studies"}
    assert fit.offsets[0].amount == pytest.approx(0.05, abs=0.005)


def test_without_groups_or_a_line_there_is_none() -> None:
    assert fit_trials(study(1)).offsets == ()
    apart = group("runs/theirs", 0.05, 2)[:1]
    assert fit_trials([trial(3_000, 2, (0.4, 0.41)), trial(2_000, 3, (0.4, 0.42)), *apart]).offsets == ()


def test_the_interval_is_told_in_the_direction_of_the_amount() -> None:
    said = Offset("runs/theirs", -0.031, (-0.05, 0.002)).sentence(UNIT)
    assert said.startswith("Trials of runs/theirs lie 0.031 lower (95% interval -0.002 to 0.050) than")
