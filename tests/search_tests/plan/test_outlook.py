"""How long a study still takes at most, worked out by hand from trials of known lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from factories import record

from search.config.study import StudyConfig
from search.fit.curve import DiversityCurve
from search.plan.outlook import seconds_left, trials_left
from search.plan.plan import Plan, seeded
from search.plan.progress import Progress
from search.plan.space import Space
from search.trials.design_point import Trial

CURVE = DiversityCurve((10, 10_000), (4.6, 18.4))


def plan(trainer: dict[str, Any] | None = None, **search: Any) -> Plan:
    """A grid of 2 and 4 responses at a half and the whole of the budget: four points of two seeds."""
    fixed = {"plan": "grid", "responses": [2, 4], "budget_fractions": [0.5, 1.0]}
    tree = {"budget": 4800, "pool": {"path": "demo"}, "trainer": trainer or {}, "search": fixed | search}
    return Plan(Space(StudyConfig.model_validate(tree)), CURVE)


def trial(of: Plan, responses: int, budget_fraction: float = 1.0) -> Trial:
    return seeded(of.config, of.space.point(responses, budget_fraction), ())


def progress(*finished: tuple[Trial, float], running: Sequence[Trial] = ()) -> Progress:
    records = [record(one, 0.5, 0.5, seconds=seconds, trained_tokens=500) for one, seconds in finished]
    return Progress(finished=records, running=running)


def test_nothing_is_known_before_a_trial_has_finished() -> None:
    grid = plan()
    running = [trial(grid, 2)]
    assert seconds_left(grid, progress(running=running), [5.0], 2) is None
    assert trials_left(grid, progress(running=running)) == 3


def test_trials_to_come_are_as_long_as_the_longest_and_longer_where_they_train_more() -> None:
    grid = plan()
    two, four = trial(grid, 2), trial(grid, 4)
    # 2 responses took 60 s, so that 4 take up to 120 s, and three trials are left
    assert seconds_left(grid, progress((two, 60)), [], 1) == pytest.approx(360)
    # once 4 responses took 80 s, that is the longest
    assert seconds_left(grid, progress((two, 60), (four, 80)), [], 1) == pytest.approx(160)
    # one runs and has 40 s left at most; of the three at 80 s two slots end after 120 s and 160 s
    known = progress((four, 80), running=[trial(grid, 4, 0.5)])
    assert seconds_left(grid, known, [40.0], 1) == pytest.approx(40 + 2 * 80)
    assert seconds_left(grid, known, [40.0], 2) == pytest.approx(40 + 80)


def test_a_small_spend_tells_little_of_the_whole_budget_where_prompts_are_visited_equally_often() -> None:
    grid = plan({"matching": "epochs", "epochs": 1.0})
    assert seconds_left(grid, progress((trial(grid, 2, 0.5), 60)), [], 1) == pytest.approx(3 * 120)


def test_a_trial_that_outlasts_the_estimate_takes_it_back() -> None:
    grid = plan()
    known = progress((trial(grid, 4), 80), running=[trial(grid, 2)])
    assert seconds_left(grid, known, [79.0], 1) == pytest.approx(1 + 2 * 80)
    assert seconds_left(grid, known, [81.0], 1) is None


@pytest.mark.parametrize(
    "limit",
    [
        {"trials": 3},
        {"max_hours": 100 / 3600},
        {"max_cost": 0.1, "price_per_hour": 3.6},
        {"max_tokens": 1300},
    ],
)
def test_no_trial_beyond_a_limit_is_counted(limit: dict[str, Any]) -> None:
    grid = plan(**limit)
    left = 2 if "trials" in limit else 1
    assert seconds_left(grid, progress((trial(grid, 4), 80)), [], 1) == pytest.approx(left * 80)


def test_a_confirmation_does_not_fill_the_cluster() -> None:
    adaptive = plan(plan="adaptive", trials=9)
    known = progress((trial(adaptive, 4), 80))
    assert trials_left(adaptive, known) == 8
    assert seconds_left(adaptive, known, [], 1) == pytest.approx(8 * 80)
    assert seconds_left(adaptive, known, [], 4) == pytest.approx(4 * 80)
