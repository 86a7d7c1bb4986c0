"""Trials of another length are compared; without any the run that would tell is named."""

from __future__ import annotations

import numpy as np
from factories import planned, record

from search.config.cost import Split
from search.config.scale import UNIT
from search.fit.lengths import Scatter, length_lines
from search.trials.record import TrialRecord

PAIR = (Split(24, 8), Split(96, 2))


def trials(deviation: float, **hyperparameters: float | str) -> list[TrialRecord]:
    generator = np.random.default_rng(0)
    values = tuple(sorted(hyperparameters.items()))
    return [
        record(
            planned(split.prompts, split.responses, range(6), hyperparameters=values),
            *generator.normal(0.5, deviation, 6),
            seconds=6 * 1800,
            telemetry={"seconds_evaluate": 360.0},
        )
        for split in PAIR
    ]


def test_trainings_of_one_length_name_the_run_that_would_tell_with_its_time() -> None:
    (line,) = length_lines(trials(0.03), [], PAIR, UNIT)
    # Three seeds of both: half an hour each, of which 0.1 is judging and 0.4 are twice as long.
    assert "3 seeds of both at twice the length (5.4 hours)" in line
    assert "trainer.average_tail (3 hours)" in line


def test_trials_that_differ_in_length_alone_are_compared() -> None:
    own = trials(0.03, lr=1e-4)
    longer, averaged = (
        trials(0.01, lr=1e-4, **{"trainer.steps": 48}),
        trials(0.02, lr=1e-4, **{"trainer.average_tail": 0.5}),
    )
    other = trials(0.01, lr=1e-3, **{"trainer.steps": 96})
    said = length_lines(own, [*longer, *averaged, *other], PAIR, UNIT)
    assert len(said) == 2
    here, there = Scatter.of(own), Scatter.of(longer)
    assert here is not None and there is not None
    low, high = there.interval_95
    assert said[0] == (
        f"Seeds deviate by {there.deviation:.4f} ({low:.4f} to {high:.4f}) at trainer.steps 48, by "
        f"{here.deviation:.4f} ({here.interval_95[0]:.4f} to {here.interval_95[1]:.4f}) here."
    )
    assert "trainer.average_tail 0.5" in said[1]


def test_the_interval_of_a_deviation_covers_it() -> None:
    generator, covered = np.random.default_rng(1), []
    for _ in range(200):
        found = Scatter.of([record(planned(24, 8, range(6)), *generator.normal(0.5, 0.03, 6))])
        assert found is not None
        covered.append(found.interval_95[0] <= 0.03 <= found.interval_95[1])
    assert 0.9 <= np.mean(covered) <= 0.99


def test_few_seeds_tell_no_deviation() -> None:
    assert Scatter.of([record(planned(24, 8, range(4)), 0.4, 0.5, 0.6, 0.5)]) is None
