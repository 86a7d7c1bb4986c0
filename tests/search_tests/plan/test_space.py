"""The points of a study: feasible, named by all that their results depend on, never trained twice."""

from __future__ import annotations

import json
from typing import Any

import pytest
from factories import planned
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from base.errors import ConfigError
from search.config.cost import CostModel
from search.config.hyperparameters import Choices, Domain, Numbers, applied
from search.config.study import StudyConfig
from search.plan.pilot import pilot
from search.plan.plan import seeded
from search.plan.space import Space, check_choices, check_raters, check_responses
from search.trials.design_point import DesignPoint, Trial


def config(**changes: object) -> StudyConfig:
    tree = {
        "budget": 48,
        "pool": {"path": "demo"},
        "search": {"responses": [2, 3, 4], "budget_fractions": [0.5, 1.0]},
    }
    return StudyConfig.model_validate({**tree, **changes})


def search(**fields: object) -> StudyConfig:
    return config(search={"responses": [2, 3, 4], "budget_fractions": [0.5, 1.0], **fields})


def test_places_spend_their_share_and_no_more() -> None:
    study = config()
    for point in Space(study, max_prompts=100).grid():
        assert study.cost.cost(point.prompts, point.responses) <= study.budget * point.budget_fraction
        assert study.cost.cost(point.prompts + 1, point.responses) > study.budget * point.budget_fraction


def test_the_grid_holds_every_place_once_and_the_whole_budget_first() -> None:
    grid = Space(search(selections=["random", "diverse"], strengths=[0.5, 1.0])).grid()
    assert len(grid) == 18 == len(set(grid))
    assert [point.budget_fraction for point in grid[:6]] == [1.0] * 3 + [0.5] * 3
    assert {(point.selection, point.strength) for point in grid[6:]} == {("diverse", 0.5), ("diverse", 1.0)}


def test_a_place_trained_again_gets_new_seeds_and_another_key() -> None:
    study = config()
    point = Space(study).grid()[0]
    first = seeded(study, point, ())
    again = seeded(study, point, first.seeds)
    assert first.seeds == (0, 1) and again.seeds == (2, 3)
    assert first.key("study") != again.key("study") != again.key("another study")
    assert first.point == again.point == point


def test_a_place_trained_with_another_number_of_seeds_gets_those_it_lacks() -> None:
    assert seeded(search(seeds=3), Space(config()).grid()[0], (0, 2)).seeds == (1, 3, 4)


def test_a_trial_survives_json_and_names_stay() -> None:
    trial = planned(3, 2, budget_fraction=0.5, hyperparameters=(("trainer.steps", 4),))
    assert Trial.from_dict(json.loads(json.dumps(trial.to_dict()))) == trial
    plain = planned(48, 2, budget_fraction=1.0)
    assert plain.key("study") == "b7e6ff5c8b79"


def test_where_the_pool_ends_all_of_it_is_the_largest_spend() -> None:
    space = Space(config(), max_prompts=20)
    assert space.fractions == {2: (0.5, 20 * 2 / 48), 3: (0.5, 1.0), 4: (0.5, 1.0)}
    assert {point.prompts for point in space.grid() if point.responses == 2} == {12, 20}
    assert "2 responses" in space.notes()[0] and len(space.notes()) == 1


def test_spends_that_buy_the_same_prompts_are_one_place() -> None:
    assert Space(config(budget=8)).fractions[4] == (0.5, 1.0)
    assert Space(config(budget=6)).fractions[4] == (1.0,)


def reached(space: Space, choose: int) -> tuple[DesignPoint, dict[str, Domain]]:
    """The point at the end of one walk, and what could have been chosen on the way."""
    asked: dict[str, Domain] = {}

    def decide(name: str, domain: Domain) -> Any:
        asked[name] = domain
        return domain.values[choose % len(domain.values)] if isinstance(domain, Choices) else domain.middle

    return space.walk(decide), asked


def test_a_walk_reaches_only_places_that_can_be_had_and_its_names_keep_their_values() -> None:
    space = Space(search(selections=["random", "narrow"], strengths=[0.5]), max_prompts=20)
    seen: dict[str, Domain] = {}
    for choose in range(6):
        point, asked = reached(space, choose)
        assert point.prompts <= 20 and space.config.cost.cost(point.prompts, point.responses) <= 48
        assert all(seen.setdefault(name, domain) == domain for name, domain in asked.items())
    assert {
        "budget_fraction at 2 responses",
        "budget_fraction at 3 responses",
    } <= seen.keys() and "budget_fraction" not in seen


def test_settings_are_checked_in_the_type_of_their_field() -> None:
    asked = {
        "trainer.learning_rate": {"low": "1e-6", "high": 1e-4, "log": True},
        "trainer.algorithm.name": ["pro", "dpo"],
        "trainer.batch_prompts": {"low": 4, "high": 16},
    }
    space = Space(search(space=asked))
    assert space.hyperparameters["trainer.learning_rate"] == Numbers(1e-6, 1e-4, log=True)
    assert space.hyperparameters["trainer.batch_prompts"] == Numbers(4, 16, whole=True)
    assert dict(space.default_hyperparameters)["trainer.algorithm.name"] == "pro"
    changed = applied(space.config.trainer, {"trainer.algorithm.name": "dpo", "trainer.learning_rate": 1e-5})
    assert changed.algorithm.name == "dpo" and changed.learning_rate == 1e-5
    assert changed.algorithm.beta == space.config.trainer.algorithm.beta


def test_the_tail_that_is_averaged_is_searched_as_any_other_setting() -> None:
    space = Space(search(space={"trainer.average_tail": {"low": 0, "high": 0.5}}))
    assert space.hyperparameters["trainer.average_tail"] == Numbers(0.0, 0.5)
    assert dict(space.default_hyperparameters) == {"trainer.average_tail": 0.0}
    assert applied(space.config.trainer, {"trainer.average_tail": 0.25}).average_tail == 0.25


def test_a_setting_of_ones_own_outside_its_space_gives_way_to_the_middle() -> None:
    asked = {"trainer.learning_rate": {"low": 1e-6, "high": 1e-4, "log": True}}
    study = config(trainer={"learning_rate": 0.5}, search={"space": asked})
    assert dict(Space(study).default_hyperparameters)["trainer.learning_rate"] == pytest.approx(1e-5)


def test_points_are_known_by_the_settings_that_are_searched_now() -> None:
    rate = config().trainer.learning_rate
    plain = Space(search()).grid()[0]
    searched = Space(search(space={"trainer.learning_rate": [rate, 1e-4]}))
    assert dict(searched.known(plain).hyperparameters) == {"trainer.learning_rate": rate}
    other = searched.point(2, 1.0, hyperparameters=(("trainer.learning_rate", 1e-4),))
    assert searched.known(other) == other
    assert Space(search()).known(searched.known(plain)).hyperparameters == ()
    assert Space(search()).known(other).hyperparameters == other.hyperparameters


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"trainer.learning_rat": [1, 2]}, 'did you mean "trainer.learning_rate"'),
        ({"trainer.algorithm.name": ["pro", "ppo"]}, "trainer.algorithm.name = 'ppo'"),
        ({"trainer.algorithm.name": {"low": 1, "high": 2}}, "trainer.algorithm.name"),
        ({"trainer.learning_rate": {"low": -1, "high": 2}}, "trainer.learning_rate = -1"),
        ({"trainer.average_tail": [0, 1]}, "trainer.average_tail = 1"),
        ({"trainer.learning_rate": {"low": 2, "high": 1}}, "low 2 is not below high 1"),
        ({"trainer.learning_rate": {"low": 0, "high": 1, "log": True}}, "log needs low above 0"),
        ({"trainer.learning_rate": {"lo": 0, "high": 1}}, "lo"),
        ({"trainer.algorithm.name": ["pro"]}, "two or more different values"),
        ({"trainer.micro_batch_tokens": [64, 128]}, "trainer.micro_batch_tokens"),
        ({"pool.path": ["a", "b"]}, 'search.space names "pool.path"'),
    ],
)
def test_a_space_that_the_trainer_refuses_is_refused(space: object, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        search(space=space)


def test_an_algorithm_in_the_space_needs_its_responses_too() -> None:
    asked = {"trainer.algorithm.name": ["sft", "pro"]}
    with pytest.raises(ValueError, match="search.responses holds 1"):
        config(trainer={"algorithm": {"name": "sft"}}, search={"responses": [1, 2], "space": asked})


def test_what_cannot_be_had_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="pays for no prompt at all"):
        Space(config(budget=3))
    with pytest.raises(ConfigError, match="holds 4, but the pool's prompts have no more than 3"):
        check_responses(config().search.responses, 3)


@settings(max_examples=100, deadline=None)
@given(
    budget=st.floats(10, 5000),
    per_prompt=st.floats(0, 5),
    per_comparison=st.floats(0, 2),
    budget_fractions=st.lists(st.floats(0.05, 1), min_size=1, max_size=4, unique=True),
    responses=st.lists(st.integers(2, 9), min_size=1, max_size=4, unique=True),
    pool=st.integers(1, 400),
    choose=st.integers(0, 30),
)
def test_whatever_is_asked_no_place_costs_more_than_the_budget_or_needs_more_than_the_pool(
    budget: float,
    per_prompt: float,
    per_comparison: float,
    budget_fractions: list[float],
    responses: list[int],
    pool: int,
    choose: int,
) -> None:
    cost = {"per_prompt": per_prompt, "per_comparison": per_comparison}
    study = config(
        budget=budget, cost=cost, search={"responses": responses, "budget_fractions": budget_fractions}
    )
    try:
        space = Space(study, max_prompts=pool)
    except ConfigError:
        return
    grid = space.grid()
    assert len({(point.prompts, point.responses) for point in grid}) == len(grid)
    for point in (*grid, reached(space, choose)[0]):
        assert point in grid and 1 <= point.prompts <= pool
        assert study.cost.cost(point.prompts, point.responses) <= budget * point.budget_fraction * (1 + 1e-9)


def test_raters_are_paid_for_and_named() -> None:
    space = Space(search(raters=[3, 1], agreement=0.75))
    points = space.grid()
    assert {point.raters for point in points} == {1, 3} and {point.agreement for point in points} == {0.75}
    for point in points:
        spent = point.prompts * point.responses * (point.raters or 0)
        assert spent <= space.config.budget * (point.budget_fraction or 0)
    more = [point for point in pilot(space, ()) if point.raters == 3]
    assert len(more) == 2 and len({point.prompts for point in more}) == 2
    assert space.walk(lambda name, domain: domain.values[-1]).raters == 3  # type: ignore[union-attr]


def test_a_stated_agreement_alone_is_of_the_raters_that_are_paid_for() -> None:
    space = Space(search(agreement=0.9))
    assert {point.raters for point in space.grid()} == {1}
    assert {point.raters for point in Space(search()).grid()} == {None}


@pytest.mark.parametrize(("fewest", "said"), [(0, "search.agreement"), (2, "rated by only 2")])
def test_more_raters_than_a_pool_has_are_refused(fewest: int, said: str) -> None:
    check_raters((1, 2), 2)
    with pytest.raises(ConfigError, match=said):
        check_raters((1, 3), fewest)


def test_choices_of_responses_cost_alike_and_are_tried_in_both_sizes() -> None:
    space = Space(search(response_choices=["far", "random"]))
    assert [one.response_choice for one in space.labellings] == ["random", "far"]
    points = space.grid()
    for choice in ("random", "far"):
        assert {p.prompts for p in points if p.response_choice == choice} == {p.prompts for p in points}
    more = [point for point in pilot(space, ()) if point.response_choice == "far"]
    assert len(more) == 2 and len({point.prompts for point in more}) == 2


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"search": {"response_choices": ["spread"]}}, "without random"),
        ({"search": {"response_choices": ["random", "random"]}}, "twice: random, random"),
        ({"search": {"response_choices": ["random", "near"]}}, "near"),
        ({"search": {"response_choices": ["random", "far"], "prior": "studies"}}, "response choices"),
        (
            {"search": {"response_choices": ["random", "far"]}, "cost": {"per_generated": 0.01}},
            "cost.generated how many candidates",
        ),
    ],
)
def test_choices_that_cannot_be_compared_or_paid_are_refused(changes: dict[str, Any], said: str) -> None:
    tree = {"name": "s", "budget": 100, "pool": {"path": "demo"}, **changes}
    with pytest.raises(ValidationError, match=said):
        StudyConfig.model_validate(tree)


def test_choices_need_responses_to_leave_out_and_pay_for_them() -> None:
    check_choices(["spread"], (2, 4), 5, CostModel(per_generated=0.1, generated=5))
    with pytest.raises(ConfigError, match="there is nothing to choose"):
        check_choices(["spread"], (2,), 2, CostModel())
    with pytest.raises(ConfigError, match="set cost.generated 8"):
        check_choices(["far"], (2,), 8, CostModel(per_generated=0.1, generated=4))
    with pytest.raises(ConfigError, match="set cost.generated 8"):
        check_choices(["far"], (2,), 8, CostModel(per_judged=0.1))
    check_choices(["spread"], (2,), 8, CostModel(per_judged=0.1))
