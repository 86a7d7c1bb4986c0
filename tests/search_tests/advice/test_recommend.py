from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paper import paper_curve, paper_trials, study, trial

from base.errors import InsufficientDataError
from search.advice.recommend import recommend
from search.advice.recommendation import Recommendation
from search.config.cost import CostModel, Split
from search.fit.curve import DiversityCurve
from search.fit.fit import Fit, fit_trials
from search.fit.forecast import Forecast
from search.fit.question import Question, predict
from search.trials.record import TrialRecord


def asked(
    records: list[TrialRecord], budget: float, cost_model: CostModel | None = None, **more: object
) -> Recommendation:
    fit = fit_trials(records)
    asked_for = {
        "curve": DiversityCurve.from_trials(records), "responses": fit.observed.levels, "max_prompts": None,
        "most_responses": None,
    }  # fmt: skip
    given: dict[str, Any] = {name: more.pop(name, default) for name, default in asked_for.items()}
    question = Question(budget, cost_model or CostModel(), **given)
    return recommend(fit, question, **{"seed": 0, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", ["PRO", "SFT"])
@pytest.mark.parametrize("budget", [6_000, 24_000, 48_000])
def test_the_papers_points_say_four_responses_at_the_edge(algorithm: str, budget: int) -> None:
    answer = asked(paper_trials(algorithm), budget)
    assert answer.best.split == Split(budget // 4, 4)
    assert answer.flags["edge"] and answer.try_responses == 5 and not answer.flags["extrapolated"]
    assert "edge of what was tried: try 5" in answer.sentence()


def test_no_more_responses_are_advised_than_a_prompt_can_have() -> None:
    answer = asked(paper_trials("PRO"), 24_000, most_responses=4)
    assert answer.flags["edge"] and answer.try_responses is None
    assert "edge of what was tried, and of what the pool has." in answer.sentence()


@pytest.mark.parametrize("algorithm", ["PRO", "SFT"])
def test_under_equal_comparisons_the_advantage_of_four_shrinks(algorithm: str) -> None:
    answer = asked(paper_trials(algorithm), 48_000, curve=paper_curve())
    views = {view.name: view for view in answer.cost_models}
    assert views["equal annotations"].splits[0] == views["equal comparisons"].splits[0] == Split(12_000, 4)
    assert views["equal comparisons"].budget == 72_000
    annotations, comparisons = (
        views[f"equal {unit}"].advantage or 0 for unit in ("annotations", "comparisons")
    )
    assert 0 < comparisons < annotations / 2
    assert "most prompts" not in views["equal comparisons"].sentence()


def test_a_view_that_reaches_beyond_the_trials_says_so() -> None:
    records = [record for record in paper_trials("PRO") if record.prompts <= 12_000]
    prices, *_ = asked(records, 96_000, curve=paper_curve()).cost_models
    assert prices.splits[0].prompts > 12_000
    assert f"; {prices.splits[0].prompts / 12_000:.2f} times the trials' most prompts" in prices.sentence()


def test_prices_decide() -> None:
    records = study(1, noise=0.001, slope=0.03)
    dear_prompts = asked(records, 12_000, CostModel(per_prompt=20, unit="euros"))
    dear_comparisons = asked(records, 12_000, CostModel(per_annotation=0, per_comparison=5, unit="euros"))
    assert dear_prompts.best.responses == 4
    assert dear_comparisons.best.responses == 2
    assert "euros" in dear_prompts.sentence()


def test_the_json_has_all_that_was_promised() -> None:
    found = json.loads(json.dumps(asked(study(1), 12_000, seed=11).to_dict(), allow_nan=False))
    assert found["budget"] == 12_000 and found["unit"] == "annotations" and found["seed"] == 11
    assert found["recommended"] == {"prompts": 3000, "responses": 4}
    low, high = found["interval_95"]
    assert 0 <= low < found["predicted_reward"] < high <= 1
    assert found["runner_up"]["probability_better"] == pytest.approx(1 - found["probability_better"])
    assert {"edge", "extrapolated", "unidentified", "undecided", "less"} <= found["flags"].keys()
    assert (found["trials"], found["seeds"]) == (9, 27)
    assert [split["responses"] for split in found["splits"]][0] == 4


def test_chances_agree_with_the_probability_and_the_seed_decides_them() -> None:
    first, second = (asked(study(4, noise=0.02), 12_000, responses=(3, 4), seed=5) for _ in range(2))
    assert first == second
    assert sum(split.probability_best for split in first.splits) == pytest.approx(1)


def test_extrapolation_is_flagged_with_its_distance() -> None:
    answer = asked(study(1), 48_000)
    assert answer.flags["extrapolated"]
    assert answer.best.prompts_beyond == pytest.approx(12_000 / 6_000)
    assert "2.00 times their most prompts" in answer.sentence()


def test_a_budget_beyond_the_trials_is_less_sure() -> None:
    widths = [np.ptp(asked(study(1), budget).best.interval_95) for budget in (6_000, 50_000, 500_000)]
    assert widths[0] < widths[1] < widths[2]


def test_responses_between_those_tried_are_interpolated_and_beyond_them_not_answered() -> None:
    records = [t for t in study(1, noise=0.001) if t.responses != 3]
    answer = asked(records, 12_000, responses=(1, 2, 3, 4, 5))
    whole = [split for split in answer.splits if split.cost == 12_000]
    assert sorted(split.responses for split in whole) == [2, 3, 4]
    assert {split.responses for split in answer.splits if split.tried} == {2, 4}
    rewards = {split.responses: split.predicted_reward for split in whole}
    assert rewards[3] == pytest.approx(0.3 + 0.01 * np.log(4) + 0.06, abs=0.01)
    with pytest.raises(
        InsufficientDataError, match=r"responses \[7, 8\] were not tried; the trials hold \[2, 4\]"
    ):
        asked(records, 12_000, responses=(8, 7))


def one_budget_fraction(seeds: int) -> list[TrialRecord]:
    rewards = {2: 0.40, 3: 0.42, 4: 0.45}
    noise = (0.004, -0.004, 0.002)[:seeds]
    return [trial(1200 // k, k, tuple(r + e for e in noise)) for k, r in rewards.items()]


def test_one_spend_identifies_no_line_but_compares_what_was_tried() -> None:
    answer = asked(one_budget_fraction(2), 1200)
    assert answer.flags["unidentified"] and answer.best.split == Split(300, 4)
    assert answer.probability_better is not None and answer.probability_better > 0.95
    assert "only tried splits are compared" in answer.sentence()


def test_one_spend_is_no_ground_for_another_budget_nor_without_repeated_seeds() -> None:
    with pytest.raises(InsufficientDataError, match="two or more budget_fractions"):
        asked(one_budget_fraction(2), 4800)
    with pytest.raises(InsufficientDataError, match="two or more seeds"):
        asked(one_budget_fraction(1), 1200)


def demo(seeds: int) -> list[TrialRecord]:
    """About what the demo runs: three splits of one budget, two of a half."""
    rewards = {(240, 2): 0.40, (160, 3): 0.415, (120, 4): 0.42, (120, 2): 0.385, (60, 4): 0.41}
    noise = (0.01, -0.012)[:seeds]
    return [trial(n, k, tuple(r + e * (1 + k % 2) for e in noise)) for (n, k), r in rewards.items()]


@pytest.mark.parametrize("seeds", [1, 2])
def test_five_trials_give_an_honest_answer(seeds: int) -> None:
    answer = asked(demo(seeds), 480)
    low, high = answer.best.interval_95
    assert not answer.flags["unidentified"] and answer.flags["single_seed"] == (seeds == 1)
    assert high - low > 0.015
    assert 0.5 <= (answer.probability_better or 0) < 0.999


def test_the_power_estimate_grows_as_the_gap_shrinks_and_is_honest_about_hopeless_ones() -> None:
    close = asked(study(2, noise=0.02), 12_000, CostModel(per_annotation=0, per_comparison=1))
    assert close.flags["undecided"]
    assert close.more_seeds is None or close.more_seeds >= 1
    assert "Undecided: with probability" in close.sentence()
    assert asked(study(2, noise=0.0005), 12_000).more_seeds is None
    assert not asked(study(2, noise=0.0005), 12_000).flags["undecided"]


def test_a_number_of_seeds_that_nobody_would_train_is_not_advised() -> None:
    wide = asked(study(3, noise=0.025), 12_000)
    assert wide.flags["undecided"] and wide.more_seeds is None
    assert "No sensible number of seeds would tell 4,000 x 3 and 3,000 x 4 apart." in wide.sentence()
    few = asked(study(5, noise=0.015), 12_000)
    assert few.more_seeds is not None and 1 < few.more_seeds <= 50
    assert f"About {few.more_seeds} more seeds of each would tell 4,000 x 3 and" in few.sentence()


def test_added_seeds_as_many_as_estimated_do_separate_most_often() -> None:
    """The power estimate's own promise, 80%, on trials whose gap is the predicted one."""
    records = study(5, noise=0.015)
    answer = asked(records, 12_000)
    assert answer.more_seeds is not None and answer.runner_up is not None
    generator, separated = np.random.default_rng(1), 0
    for _ in range(25):
        added = list(records)
        for split in (answer.best, answer.runner_up):
            rewards = split.predicted_reward + generator.normal(0, 0.015, answer.more_seeds)
            rewards = tuple(float(r) for r in np.clip(rewards, 0, 1))
            added.append(trial(split.prompts, split.responses, rewards, split.diversity, trial="added"))
        fit = fit_trials(added)
        forecast = predict(
            fit, [answer.best.split, answer.runner_up.split], DiversityCurve.from_trials(records)
        )
        separated += forecast.probability(0, 1) >= 0.95
    assert separated / 25 >= 0.6


def rescored(record: TrialRecord, change: Callable[[float], float]) -> TrialRecord:
    results = tuple(replace(result, reward=change(result.reward)) for result in record.results)
    return replace(record, results=results)


def mirrored(records: list[TrialRecord]) -> list[TrialRecord]:
    """The same trials with rewards that fall where they rose."""
    return [rescored(t, lambda reward: 0.9 - reward) for t in records]


def test_where_less_is_better_less_is_spent_and_the_headline_says_so() -> None:
    answer = asked(mirrored(study(1, noise=0.001, slope=0.03, gain=0.0)), 12_000)
    assert answer.flags["less"] and answer.flags["fewest"] and answer.best.cost == 3_000
    assert answer.sentence().startswith(f"Spend 3,000 of 12,000 annotations: label {answer.best.split}; more")
    assert "more prompts do not raise the reward in these trials" in answer.sentence()
    assert answer.whole is not None and answer.whole.cost == 12_000
    assert not answer.flags["extrapolated"] and "beyond" not in answer.sentence()


def test_more_budget_keeps_the_best_split_where_less_is_better() -> None:
    records = mirrored(study(1, noise=0.001, slope=0.03))
    answers = [asked(records, budget) for budget in (3_000, 6_000, 12_000, 24_000)]
    assert len({answer.best.split for answer in answers}) == 1


def test_where_rewards_rise_the_whole_budget_is_spent() -> None:
    answer = asked(study(1, noise=0.001), 12_000)
    assert not answer.flags["less"] and answer.best.cost == 12_000 and answer.whole is None


def test_a_trial_that_beats_the_recommended_split_is_named() -> None:
    lucky = trial(1_500, 2, (0.45, 0.46, 0.44), selection="diverse")
    other = trial(750, 2, (0.41, 0.42, 0.4), selection="narrow")
    answer = asked([*study(1), other, lucky], 12_000)
    assert answer.best.predicted_reward < 0.41
    assert [t.label for t in answer.better_trials] == ["1,500 x 2 diverse", "750 x 2 narrow"], (
        "the best first"
    )
    assert "A trial did better than this predicts: 1,500 x 2 diverse had 0.450 ± 0.006" in answer.sentence()
    assert "diverse had" not in asked([*study(1), lucky], 2_000).sentence(), "it costs more than this budget"


def test_a_lucky_trial_with_random_prompts_is_named_with_what_all_trials_make_of_it() -> None:
    records = study(4, noise=0.02, seeds=2)
    answer = asked(records, 12_000)
    best = max(records, key=lambda record: record.reward)
    named = answer.better_trials[0]
    assert Split(best.prompts, best.responses) != answer.best.split
    assert named.reward == best.reward and (named.predicted_reward or 1) < best.reward
    assert "all trials together put it at" in answer.sentence()


def test_equal_splits_are_named_as_equals_and_untried_responses_are_no_rivals() -> None:
    records = [t for t in study(1, noise=0.0005, slope=0.0, gain=0.0) if t.responses != 3]
    answer = asked(records, 12_000, responses=(2, 3, 4))
    assert not answer.flags["undecided"] and "Decided: no other split is better by more" in answer.sentence()
    assert {split.responses for split in answer.equals} | {answer.best.responses} == {2, 3, 4}
    assert all(split.exceeds == 0 for split in answer.splits if split.responses == 3)
    assert "Equal within 0.002:" in answer.sentence()


def test_no_split_is_both_equal_and_the_runner_up() -> None:
    answer = asked(study(1, noise=0.01), 12_000)
    (equal,), rival = answer.equals, answer.runner_up
    assert rival is not None and rival.split != equal.split and equal.exceeds > rival.exceeds > 0.05
    assert f"ahead of {rival.split} by" in answer.sentence()
    open_ = f"one of its equals or {rival.split} (probability {rival.exceeds:.2f}) may be the one."
    assert open_ in answer.decided() and str(equal.split) not in answer.decided()
    assert answer.enough < 1 - equal.exceeds + 0.02, "equals count as well"


def test_a_runner_up_that_hardly_matters_beside_likelier_equals_is_not_what_to_train() -> None:
    answer = asked(study(7, noise=0.015), 12_000)
    assert answer.runner_up is not None and answer.runner_up.exceeds < 0.05
    assert "; one of its equals may be the one. Equal" in answer.decided()
    assert "seeds" not in answer.decided()


def test_where_every_split_is_equal_there_is_no_runner_up() -> None:
    answer = asked(study(2, noise=0.02), 12_000, margin=0.5)
    assert answer.runner_up is None and answer.probability_better is None
    assert len(answer.equals) == len(answer.splits) - 1
    assert "only split" not in answer.sentence() and "Decided" in answer.sentence()
    assert answer.to_dict()["runner_up"] is None


def test_what_is_as_good_for_less_stands_first() -> None:
    answer = asked(study(1, noise=0.001, slope=0.004), 12_000, margin=0.01)
    cheaper = answer.cheaper
    assert not answer.flags["less"] and cheaper is not None and cheaper in answer.equals
    assert cheaper.cost == min(split.cost for split in answer.equals) < answer.best.cost
    as_good = (
        f"{cheaper.split} for {cheaper.cost:,.0f} annotations is as good within 0.01 (probability over 0.99)."
    )
    assert answer.reading().startswith(as_good)
    first, rest = answer.sentence().split(as_good)
    assert first.startswith("With 12,000 annotations label") and rest.startswith(" Decided: ")
    assert "Equal within 0.01 too: " in rest and f"{cheaper.split} for" not in rest, "it is named once"
    assert answer.to_dict()["as_good_for_less"] == {
        "prompts": cheaper.prompts, "responses": cheaper.responses, "cost": cheaper.cost,
        "probability_within_margin": 1 - cheaper.behind,
    }  # fmt: skip


def test_what_costs_as_much_or_is_more_likely_worse_is_not_as_good_for_less() -> None:
    steep = asked(study(1, noise=0.001, slope=0.03), 12_000)
    assert steep.cheaper is None and "as good" not in steep.sentence()
    assert steep.to_dict()["as_good_for_less"] is None
    answer = asked(study(1, noise=0.001, slope=0.004), 12_000, margin=0.01)
    found = answer.cheaper
    assert found is not None
    doubtful = replace(answer, equals=tuple(replace(split, behind=0.6) for split in answer.equals))
    assert doubtful.cheaper is None
    as_dear = replace(answer, equals=tuple(replace(split, cost=11_000) for split in answer.equals))
    assert as_dear.cheaper is None
    between = replace(answer, equals=tuple(replace(s, responses_tried=False) for s in answer.equals))
    assert between.cheaper is None, "no trial had so many responses"
    twin = replace(found, tried=False)
    assert replace(answer, equals=(twin, found)).cheaper is found, "of two that cost the same a tried one"
    assert "(not tried) is as good" in replace(answer, equals=(twin,)).reading()


def test_the_margin_decides_what_is_equal() -> None:
    records = study(2, noise=0.02)
    wide, narrow = asked(records, 12_000, margin=0.05), asked(records, 12_000, margin=0.0)
    assert not wide.flags["undecided"] and narrow.flags["undecided"]
    assert len(wide.equals) > len(narrow.equals)


def test_unequal_visits_are_said_with_the_run_that_would_tell() -> None:
    records = mirrored(study(1, noise=0.001, slope=0.03))
    assert asked(records, 12_000).training_length == ""
    steps = asked(records, 12_000, visits=6_000)
    n, whole = steps.best.prompts, steps.whole
    assert whole is not None and whole.prompts == 4 * n
    assert f"a prompt of {n:,} x {steps.best.responses} was visited {6_000 / n:.3g} times" in steps.sentence()
    assert f"To tell, train {whole.split} 4 times as long (trainer.matching: epochs, trainer.epochs: " in (
        steps.sentence()
    )


@pytest.mark.parametrize(("factor", "shift", "scale"), [(100, 0, "percent"), (40, -20, "any")])
def test_rewards_on_other_scales_give_the_same_answer(factor: float, shift: float, scale: Any) -> None:
    records = study(1, noise=0.005)
    there = [rescored(t, lambda reward: factor * reward + shift) for t in records]
    margin = 0.002
    plain, other = (
        recommend(
            fit_trials(r, s), Question(12_000, CostModel(), DiversityCurve.from_trials(r), (2, 3, 4), None),
            seed=0, margin=m,
        )
        for r, s, m in ((records, "unit", margin), (there, scale, margin * factor))
    )  # fmt: skip
    assert [s.split for s in plain.splits] == [s.split for s in other.splits]
    assert other.best.predicted_reward == pytest.approx(factor * plain.best.predicted_reward + shift)
    assert other.enough == pytest.approx(plain.enough, abs=0.01)


def test_intervals_are_clipped_only_where_the_scale_has_bounds() -> None:
    near_top = [rescored(t, lambda reward: min(1.0, 0.998 + (reward - 0.35) / 20)) for t in study(1, 0.05)]
    fits = {name: fit_trials(near_top, name) for name in ("unit", "any")}  # type: ignore[arg-type]
    highest = {
        name: max(
            split.interval_95[1]
            for split in recommend(
                fit, Question(12_000, CostModel(), DiversityCurve.from_trials(near_top), (2, 3, 4), None),
                seed=0,
            ).splits
        )
        for name, fit in fits.items()
    }  # fmt: skip
    assert highest["unit"] == 1.0 < highest["any"]


@pytest.mark.parametrize("budget", [0, -5, float("nan"), float("inf")])
def test_budgets_that_are_none(budget: float) -> None:
    with pytest.raises(InsufficientDataError, match="not a positive number"):
        asked(study(1), budget)


def test_a_budget_under_one_prompt() -> None:
    with pytest.raises(InsufficientDataError, match="buys no prompt; one costs at least 2"):
        asked(study(1), 1)


STUDIES = {seed: fit_trials(study(seed, noise=0.02)) for seed in range(6)}


def best_reward(fit: Fit, budget: float, cost_model: CostModel) -> float:
    curve = DiversityCurve.from_trials(fit.records)
    return asked(list(fit.records), budget, cost_model, curve=curve).best.predicted_reward


@settings(max_examples=60, deadline=None)
@given(seed=st.sampled_from(sorted(STUDIES)), budget=st.floats(3_000, 12_000), more=st.floats(1, 2))
def test_more_budget_never_predicts_less(seed: int, budget: float, more: float) -> None:
    fit, model = STUDIES[seed], CostModel()
    assert best_reward(fit, budget * more, model) >= best_reward(fit, budget, model) - 1e-9


@settings(max_examples=5, deadline=None)
@given(seed=st.sampled_from(sorted(STUDIES)), factor=st.sampled_from([0.25, 0.5, 2.0, 1024.0]))
def test_relabelling_units_changes_nothing(seed: int, factor: float) -> None:
    records = list(STUDIES[seed].records)
    plain = asked(records, 12_000, CostModel(per_prompt=2))
    scaled = asked(
        [replace(t, cost=t.cost * factor) for t in records],
        12_000 * factor,
        CostModel(per_prompt=2 * factor, per_annotation=factor, unit="cents"),
    )
    assert [replace(s, cost=0) for s in plain.splits] == [replace(s, cost=0) for s in scaled.splits]
    assert plain.probability_better == scaled.probability_better


@settings(max_examples=5, deadline=None)
@given(seed=st.sampled_from(sorted(STUDIES)), order=st.permutations(range(9)))
def test_order_of_trials_changes_no_recommendation(seed: int, order: list[int]) -> None:
    records = list(STUDIES[seed].records)
    assert asked(records, 12_000).to_dict() == asked([records[i] for i in order], 12_000).to_dict()


def test_intervals_of_a_mixture_hold_the_right_mass() -> None:
    forecast = Forecast(
        weights=np.array([0.3, 0.7]), means=np.array([[0.0, 1.0], [2.0, 1.0]]),
        covariances=np.array([np.eye(2), [[4.0, 2.0], [2.0, 4.0]]]), dfs=np.array([5.0, 30.0]),
    )  # fmt: skip
    generator = np.random.default_rng(0)
    parts = generator.random(200_000) < 0.3
    drawn = np.where(parts, generator.standard_t(5, 200_000), 2 + 2 * generator.standard_t(30, 200_000))
    low, high = forecast.interval(0.9)
    np.testing.assert_allclose(np.quantile(drawn, [0.05, 0.95]), [low[0], high[0]], atol=0.04)
    gap = forecast.combine(np.array([[1.0, -1.0]]))
    assert forecast.gap_variance(0, 1) == pytest.approx(float(gap.deviation[0] ** 2))
    assert forecast.probability(0, 1) + forecast.probability(1, 0) == pytest.approx(1)
