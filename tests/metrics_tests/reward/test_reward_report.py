"""What is said of a fitted reward model, when it is refused, and how its probabilities are calibrated."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from scipy.special import expit

from base.errors import RewardError
from metrics.reward.calibration import calibrate
from metrics.reward.report import FittedReport, Share, check_is_reward

REPORT = FittedReport(
    head="tuned",
    prompts=400,
    pairs=11_000,
    accuracy=0.75,
    accuracy_se=0.011,
    length_accuracy=0.739,
    l2=0.1,
    warning="",
    frozen_accuracy=0.707,
    tuned_accuracy=0.75,
    temperature=0.8,
    log_loss=0.55,
    calibration_error=0.02,
    domains={"koala": Share(4_000, 0.7, 0.72), "oasst": Share(7_000, 0.78, 0.75)},
)


def test_a_head_below_length_is_refused_with_both_figures_unless_forced() -> None:
    check_is_reward(REPORT, force=False)
    worse = replace(REPORT, accuracy=0.707)
    said = r'70.7% of .* "longer is better" .* 73.9%.*reward.force: true'
    with pytest.raises(RewardError, match=said) as refused:
        check_is_reward(worse, force=False)
    assert "fit_head" not in str(refused.value)
    with pytest.raises(RewardError, match="tune its last layers too"):
        check_is_reward(replace(worse, tuned_accuracy=None), force=False)
    check_is_reward(worse, force=True)
    assert "70.7%" in worse.notes()["reward model forced"] and "reward model forced" not in REPORT.notes()


def test_length_counts_whichever_way_it_orders_more() -> None:
    shorter = replace(REPORT, length_accuracy=0.2)
    assert shorter.length_rule == ("shorter is better", 0.8)
    assert '"shorter is better" alone does so in 80.0%' in shorter.doubt
    assert not replace(shorter, accuracy=0.8).doubt


def test_the_notes_hold_every_figure() -> None:
    notes = REPORT.notes()
    assert notes["reward model"] == (
        "tuned head; picks the better of two answers in 75.0% (standard error 1.1%) of 11,000 pairs from 400 "
        'prompts that it was not fitted on (frozen head 70.7%, "longer is better" 73.9%)'
    )
    assert "sigmoid(d / 0.80)" in notes["reward model calibration"]
    assert "koala 70.0% of 4,000 pairs (length 72.0%); oasst" in notes["reward model by domain"]


def test_a_report_is_read_again_also_of_a_head_that_was_fitted_before_layers_were_tuned() -> None:
    assert FittedReport.from_dict(json.loads(json.dumps(asdict(REPORT)))) == REPORT
    first = {"prompts", "pairs", "accuracy", "accuracy_se", "length_accuracy", "l2", "warning"}
    older = FittedReport.from_dict({name: value for name, value in asdict(REPORT).items() if name in first})
    assert older.head == "frozen" and older.notes().keys() == {"reward model"}


def test_a_temperature_is_found_and_its_probabilities_hold() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(scale=2, size=20_000)
    sure = np.where(rng.random(20_000) < expit(true), true, -true)  # margins of the better over the worse
    parts = np.array_split(3 * sure, 5)
    found = calibrate(parts)
    assert found.temperature == pytest.approx(3, rel=0.05)
    assert found.error < 0.02
    best = -np.mean(expit(true) * np.log(expit(true)) + expit(-true) * np.log(expit(-true)))
    assert found.log_loss == pytest.approx(best, abs=0.01)


def test_margins_that_say_nothing_are_a_coin() -> None:
    rng = np.random.default_rng(0)
    found = calibrate(np.array_split(rng.normal(size=4_000), 4))
    assert found.log_loss == pytest.approx(np.log(2), abs=0.005) and found.error < 0.03
