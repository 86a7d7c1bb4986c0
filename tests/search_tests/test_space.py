"""The points of a study: feasible, named by all that their results depend on, never trained twice."""

from __future__ import annotations

import pytest

from pools.errors import ConfigError
from search.config import StudyConfig
from search.space import check_space, pilot, point_of


def config(**changes: object) -> StudyConfig:
    tree = {"budget": 48, "pool": {"path": "demo"}, "search": {"responses": [2, 3, 4], "spends": [0.5, 1.0]}}
    return StudyConfig.model_validate({**tree, **changes})


def test_points_spend_their_share_and_no_more() -> None:
    study = config()
    for choice in pilot(study.search):
        point = point_of(study, choice, max_prompts=100)
        assert study.cost.cost(point.prompts, point.responses) <= study.budget * point.spend
        assert study.cost.cost(point.prompts + 1, point.responses) > study.budget * point.spend


def test_the_plan_holds_every_point_once_and_the_whole_budget_first() -> None:
    plan = pilot(config().search)
    assert len(plan) == 6 == len({tuple(choice.values()) for choice in plan})
    assert [choice["spend"] for choice in plan] == [1.0] * 3 + [0.5] * 3


def test_a_repeated_point_gets_new_seeds_and_another_key() -> None:
    study = config()
    choice = pilot(study.search)[0]
    first, again = (point_of(study, choice, max_prompts=100, repeat=repeat) for repeat in (0, 1))
    assert not set(first.seeds) & set(again.seeds)
    assert first.key("study") != again.key("study")
    assert first.key("study") != first.key("another study")


@pytest.mark.parametrize(
    ("changes", "pool", "said"),
    [
        ({}, (20, 8), "2 at search.spends 1.0 .* pays for 24 prompts, but the pool has 20"),
        ({}, (100, 3), "search.responses holds 4, but the pool's prompts have no more than 3"),
        ({"budget": 3}, (100, 8), "pays for no prompt at all"),
    ],
)
def test_points_that_cannot_be_had_are_refused(
    changes: dict[str, object], pool: tuple[int, int], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        check_space(config(**changes), max_prompts=pool[0], max_responses=pool[1])
