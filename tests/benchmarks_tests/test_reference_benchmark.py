"""The reading of the reference study: differences as Student's t has them, and what they are called."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scipy import stats

from benchmarks._recorded import replayed, unused
from benchmarks._reference import Reference, read, said
from benchmarks._simulated import simulated
from benchmarks.reference import averaged, claims, gains, longer, predicted, ranked_alike, summary, together
from search.config.cost import Split
from search.trials.design_point import DesignPoint

FEWER, MORE = (0.41, 0.44, 0.37), (0.52, 0.49, 0.53)


@pytest.fixture
def study() -> Reference:
    trials = [
        simulated(DesignPoint(prompts=96, responses=2), FEWER, diversity=4.0),
        simulated(DesignPoint(prompts=24, responses=8), MORE, diversity=3.0),
    ]
    return Reference("made up", trials, base=0.39)


def test_a_difference_has_the_interval_of_students_t(study: Reference) -> None:
    effect = study.difference(Split(24, 8), Split(96, 2))
    assert effect is not None
    expected = stats.ttest_ind(MORE, FEWER).confidence_interval(0.95)
    assert (effect[0] - effect[1], effect[0] + effect[1]) == pytest.approx(tuple(expected))
    assert study.difference(Split(24, 8), Split(48, 4)) is None


def test_splits_of_equal_cost_are_compared(study: Reference) -> None:
    assert claims(study)["192 annotations: 24 x 8 less 96 x 2"].endswith(": seen")


@pytest.mark.parametrize(
    ("effect", "verdict"), [((0.1, 0.05), "seen"), ((-0.1, 0.05), "refuted"), ((0.1, 0.2), "cannot tell")]
)
def test_an_effect_is_seen_where_its_interval_has_one_sign(effect: tuple[float, float], verdict: str) -> None:
    assert said(effect).endswith(f": {verdict}")
    assert said(None) == "not trained"


def test_the_shipped_study_is_read_and_its_larger_budgets_predicted() -> None:
    shipped = read("sft")
    assert shipped is not None
    larger = [record for record in shipped.random.values() if record.cost > 192]
    checks = predicted(shipped)
    assert len(checks["larger by smaller"]) == len(larger) > 0
    assert {check.observed for check in checks["each by all others"]} <= {r.reward for r in shipped.records}


def test_third_seeds_are_predicted_by_the_first_two(study: Reference) -> None:
    twice = [
        simulated(DesignPoint(prompts=24, responses=2), (0.36, 0.38), diversity=3.0),
        simulated(DesignPoint(prompts=48, responses=4), (0.45, 0.47), diversity=3.5),
        simulated(DesignPoint(prompts=96, responses=8), (0.55, 0.56), diversity=4.0),
    ]
    shuffled = [replace(one, results=one.results[::-1]) for one in study.records]
    found = predicted(Reference("made up", [*shuffled, *twice], base=0.39))
    checks = found["third seeds by the first two"]
    assert {(check.label, check.observed) for check in checks} == {("96 x 2", FEWER[2]), ("24 x 8", MORE[2])}


def test_how_well_intervals_fit_is_told_with_its_own_uncertainty() -> None:
    shipped = read("sft")
    assert shipped is not None
    told = summary(predicted(shipped)["each by all others"])
    low, high = told["coverage_95"]
    assert low < told["within"] / told["predictions"] <= high and 0 < told["scaled_rmse"] < 2


def test_equal_visits_are_compared_with_equal_steps_at_the_same_split(study: Reference) -> None:
    point = DesignPoint(prompts=24, responses=8)
    epochs = Reference("epochs", [simulated(point, (0.4, 0.4, 0.4), diversity=3.0)], base=0.39)
    ((label, line),) = longer(study, epochs).items()
    assert label.startswith("24 x 8") and line.startswith("-0.113") and line.endswith("refuted")


def test_algorithms_together_halve_the_variance_of_a_difference(study: Reference) -> None:
    alone, both = together([study])["24 x 8 less 96 x 2"], together([study, study])["24 x 8 less 96 x 2"]
    assert alone.startswith("+0.107 (") and both.startswith("+0.107 (") and alone != both
    low, high = (float(line.split("(")[1].split(" to")[0]) for line in (alone, both))
    assert low < high < 0.107


def test_what_equal_visits_leave_as_it_is_is_not_compared_with_itself(study: Reference) -> None:
    assert longer(study, replace(study, name="epochs")) == {}


@pytest.fixture
def grown() -> Reference:
    """8 responses are 0.1 better than 2 at every size, and rewards rise with prompts."""
    rewards = {(n, k): 0.3 + 0.1 * (k == 8) + 0.0005 * n for k in (2, 8) for n in (6, 24, 72, 96, 192)}
    trials = [
        simulated(DesignPoint(prompts=n, responses=k), (r - 0.004, r, r + 0.004), diversity=n**0.3)
        for (n, k), r in rewards.items()
    ]
    return Reference("sft", trials, base=0.3)


def test_advice_is_judged_by_the_seed_it_has_not_seen(grown: Reference) -> None:
    found = {(one.budget, one.seed): one for one in unused(grown)}
    assert {seed for _, seed in found} == {0, 1, 2}
    one = found[1536, 2]
    assert one.split == Split(192, 8) and one.reward == pytest.approx(0.5)
    assert one.gain == pytest.approx(0.05) and one.regret == 0
    assert gains([one], grown.deviation)["advice over the mean of the widest"].startswith("+0.050 (")


def test_a_replay_compares_the_plan_with_the_grid_random_points_and_tpe(grown: Reference) -> None:
    found = replayed(grown, 1)
    assert {"plan", "grid", "random", "tpe"} < found.keys()
    assert all(found[name]["trainings"] > 0 for name in ("plan", "tpe"))


def test_two_algorithms_of_one_order_have_a_tau_of_one(grown: Reference) -> None:
    assert ranked_alike(grown, grown).startswith("tau 1.00 (")
    upside = [
        simulated(record.point, (1 - reward for reward in record.rewards), diversity=record.diversity)
        for record in grown.records
    ]
    assert ranked_alike(grown, replace(grown, records=upside)).startswith("tau -1.00 (")


def test_averaged_trainings_are_compared_with_the_same_seeds(grown: Reference) -> None:
    tail = [
        simulated(record.point, [0.01 + r + 0.5 * (r - record.reward) for r in record.rewards], diversity=1.0)
        for record in grown.records
    ]
    found = averaged(grown, replace(grown, records=tail))
    assert found["deviation of a seed"].startswith("0.006, 1.50 times (")
    assert found["reward, 30 pairs of trainings"].startswith("+0.010 (")
