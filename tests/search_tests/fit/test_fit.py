from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from support.paper import like_paper, paper_curve, paper_trials, study, trial

from base.errors import InsufficientDataError
from search.config.cost import Split
from search.fit.curve import DiversityCurve
from search.fit.evidence import lack_of_fit, paper_mse
from search.fit.fit import fit_trials
from search.fit.least_squares import solve
from search.fit.models import Model, Points
from search.fit.observations import Observations
from search.fit.question import predict
from search.trials.record import TrialRecord


def test_the_papers_own_figures_come_out() -> None:
    pro, sft = (Observations.from_records(paper_trials(name)) for name in ("PRO", "SFT"))
    assert paper_mse(pro, "diversity") == pytest.approx(2.6e-5, abs=0.1e-5)
    assert 9.05e-6 < (paper_mse(sft, "diversity") or 0) < 9.35e-6
    assert paper_mse(pro, "prompts") == pytest.approx(1.2e-4, abs=0.05e-4)


def test_in_sft_log_prompts_is_as_good_as_diversity_and_that_is_said() -> None:
    fit = fit_trials(paper_trials("SFT"))
    assert (paper_mse(fit.observed, "log prompts") or 1) < (paper_mse(fit.observed, "diversity") or 0)
    errors = {x: row.loo_rmse for x in ("diversity", "log prompts") if (row := fit.row("line per k", x))}
    assert errors["log prompts"] == pytest.approx(errors["diversity"], rel=0.1)
    assert fit.effect.verdict == "confounded"
    assert "cannot tell diversity from the mere number of prompts" in fit.summary()


@pytest.mark.parametrize("least", [16_000, 24_000])
@pytest.mark.parametrize(("algorithm", "aim"), [("PRO", 0.0045), ("SFT", 0.0040)])
def test_larger_sizes_are_predicted_from_smaller_ones(algorithm: str, aim: float, least: int) -> None:
    fit = fit_trials(paper_trials(algorithm, most_prompts=12_000))
    unseen = [t for t in paper_trials(algorithm) if t.prompts > 12_000 and t.prompts >= least]
    forecast = predict(fit, [Split(t.prompts, t.responses) for t in unseen], paper_curve())
    printed = np.array([t.reward for t in unseen])
    assert np.sqrt(np.mean((forecast.mean - printed) ** 2)) < aim
    low, high = forecast.interval()
    assert np.mean((low <= printed) & (printed <= high)) >= 5 / 6


@pytest.mark.parametrize(("predictor", "pro", "sft"), [
    ("diversity", 0.0071, 0.0045), ("log prompts", 0.0121, 0.0044), ("prompts", 0.052, 0.035),
])  # fmt: skip
def test_a_line_per_k_predicts_larger_sizes_as_badly_as_was_reported(
    predictor: str, pro: float, sft: float
) -> None:
    for algorithm, expected in (("PRO", pro), ("SFT", sft)):
        small = Observations.from_records(paper_trials(algorithm, 12_000))
        unseen = Observations.from_records([t for t in paper_trials(algorithm) if t.prompts > 12_000])
        model = Model("line per k", predictor)
        solution = solve(model.design(Points.of(small), small), small, 0.0)
        assert solution is not None
        error = model.design(Points.of(unseen), small) @ solution.coefficients - unseen.reward
        assert np.sqrt(np.mean(error**2)) == pytest.approx(expected, rel=0.03)


def test_leave_one_out_formulas_equal_refitting() -> None:
    records = study(3)
    observed = Observations.from_records(records)
    model = Model("shared slope", "log prompts")
    solution = solve(model.design(Points.of(observed), observed), observed, 0.3)
    assert solution is not None
    for out in range(observed.count):
        rest = observed.keep(np.arange(observed.count) != out)
        again = solve(model.design(Points.of(rest), rest), rest, 0.3)
        assert again is not None
        row = model.design(Points.of(observed), observed)[out]
        error = observed.reward[out] - row @ again.coefficients
        spread = again.scale * np.sqrt(row @ again.covariance @ row + 0.3 + 1 / observed.seeds[out])
        assert solution.left_out[out] == pytest.approx(error, rel=1e-6)
        score = stats.t.logpdf(error / spread, again.df) - np.log(spread)
        assert solution.log_score[out] == pytest.approx(score, rel=1e-6)


def test_weights_and_scale_agree_with_a_fit_to_every_seed() -> None:
    records = [replace(t, results=t.results[:count])
               for t, count in zip(study(5, seeds=4), (1, 2, 4, 3, 4, 2, 1, 4, 3), strict=True)]  # fmt: skip
    observed = Observations.from_records(records)
    model = Model("shared slope", "diversity")
    solution = solve(model.design(Points.of(observed), observed), observed, 0.0)
    ordered = sorted(records, key=lambda t: (t.responses, t.prompts))
    rows = np.repeat(model.design(Points.of(observed), observed), [len(t.rewards) for t in ordered], axis=0)
    every = sm.OLS(np.concatenate([t.rewards for t in ordered]), rows).fit()
    assert solution is not None
    np.testing.assert_allclose(solution.coefficients, every.params, rtol=1e-8)
    np.testing.assert_allclose(solution.scale**2 * solution.covariance, every.cov_params(), rtol=1e-6)
    assert solution.df == every.df_resid


def test_lack_of_fit_is_seen_where_there_is_one() -> None:
    straight = [trial(n, 2, (0.4 + n / 1e5 + 0.001, 0.4 + n / 1e5 - 0.001)) for n in (100, 1000, 5000, 9000)]
    bent = [
        trial(n, 2, (r + 0.001, r - 0.001)) for n, r in ((100, 0.4), (1000, 0.6), (5000, 0.6), (9000, 0.4))
    ]
    model = Model("one line", "prompts")
    assert (lack_of_fit(Observations.from_records(straight), model).p_value or 0) > 0.5
    assert (lack_of_fit(Observations.from_records(bent), model).p_value or 1) < 1e-4


def chosen(effect: float, seed: int = 0) -> list[TrialRecord]:
    """A study with chosen prompts at two splits, in which D has the given effect at fixed prompts."""
    generator, found = np.random.default_rng(seed), study(seed)
    for n, k in ((3000, 2), (2000, 3)):
        base = 0.3 + 0.01 * np.log(n / 1000) + 0.02 * k
        for name, shift in (("diverse", 1.5), ("narrow", -1.5), ("random", 0.0)):
            rewards = base + effect * shift + generator.normal(0, 0.004, 3)
            diversity = 2 * float(np.log(n)) + shift
            found.append(
                trial(n, k, tuple(map(float, rewards)), diversity, selection=name, trial=f"{name}{n}")
            )
    return found


@pytest.mark.parametrize(("effect", "verdict"), [(0.01, "diversity"), (0.0, "count"), (-0.01, "count")])
def test_varied_selection_tells_diversity_from_count(effect: float, verdict: str) -> None:
    found = fit_trials(chosen(effect)).effect
    assert found.verdict == verdict
    assert found.interval_95 is not None and found.interval_95[0] < effect < found.interval_95[1]


def test_length_that_differs_with_selection_is_pointed_out() -> None:
    trials = [
        replace(t, baselines={"mean_prompt_tokens": 100.0 if t.selection == "narrow" else 120.0})
        for t in chosen(0.01)
    ]
    assert "mean prompt length differs too, by up to" in fit_trials(trials).effect.sentence
    even = [replace(t, baselines={"mean_prompt_tokens": 100.0}) for t in chosen(0.01)]
    assert "length" not in fit_trials(even).effect.sentence


def test_rivals_stand_in_the_table_unless_they_do_not_vary() -> None:
    trials = [
        replace(t, baselines={"entropy": t.diversity**2, "constant": 1.0, "prompts": 5.0}) for t in study(1)
    ]
    predictors = {row.predictor for row in fit_trials(trials).table}
    assert predictors == {"diversity", "log prompts", "inverse root prompts", "prompts", "entropy"}


@settings(max_examples=6, deadline=None)
@given(order=st.permutations(range(9)), seed=st.integers(0, 50))
def test_order_of_trials_and_of_seeds_changes_nothing(order: list[int], seed: int) -> None:
    records = study(seed)
    shuffled = [replace(records[i], results=records[i].results[::-1]) for i in order]
    first, second = fit_trials(records).to_dict(), fit_trials(shuffled).to_dict()
    assert json.dumps(first) == json.dumps(second)


@settings(max_examples=6, deadline=None)
@given(factor=st.floats(1e-3, 1e3), seed=st.integers(0, 50))
def test_the_unit_of_diversity_changes_no_prediction(factor: float, seed: int) -> None:
    records = [replace(t, diversity=t.prompts**0.2) for t in study(seed)]
    scaled = [replace(t, diversity=t.diversity * factor) for t in records]
    at = [Split(2500, 2), Split(6000, 3)]
    means = [predict(fit_trials(r), at, DiversityCurve.from_trials(r)).mean for r in (records, scaled)]
    np.testing.assert_allclose(means[0], means[1], rtol=1e-7)


def test_fit_json_is_json_without_nan() -> None:
    for records in (like_paper(), study(1), study(1)[:2], chosen(0.01)):
        json.dumps(fit_trials(records).to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("records", "complaint"),
    [
        ([], "0 trial"),
        ([trial(10, 2, (0.5,))], "1 trial is no ground"),
        (
            [trial(10, 2, (0.5,)), trial(20, 2, (float("nan"),))],
            "reward nan is not a finite number within 0 and 1",
        ),
        ([trial(10, 2, (0.5,)), trial(20, 2, (1.5,))], "reward 1.5"),
        ([trial(10, 2, (0.5,)), trial(20, 2, ())], "has no reward"),
        ([trial(10, 2, (0.5,)), trial(20, 2, (0.4,), float("inf"))], "diversity inf"),
        ([trial(10, 2, (0.5, 0.5)), trial(20, 2, (0.5, 0.5))], "the same reward, 0.5"),
    ],
)
def test_bad_trials_are_refused_with_the_reason(records: list[TrialRecord], complaint: str) -> None:
    with pytest.raises(InsufficientDataError, match=complaint):
        fit_trials(records)


def test_identical_diversity_leaves_the_number_of_prompts_to_predict() -> None:
    fit = fit_trials([replace(t, diversity=3.0) for t in study(2)])
    assert fit.ensemble is not None
    assert {member.model.predictor for member in fit.ensemble.members} == {
        "log prompts",
        "inverse root prompts",
    }
    assert all(row.predictor != "diversity" for row in fit.table)
