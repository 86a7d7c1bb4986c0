"""What is said of hyperparameters that were tuned per split."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.paper import like_paper_curve, trial

from search.advice.analysis import StudyAnalysis, analyse
from search.advice.tuning import PerSplit, per_split
from search.config.cost import CostModel, Split
from search.fit.question import Question
from search.plan.tuning import TunedAt
from search.report.report import write_report
from search.trials.record import TrialRecord

ONCE, OWN = (("trainer.learning_rate", 1e-5),), (("trainer.learning_rate", 1e-4),)
QUESTION = Question(48_000, CostModel(), like_paper_curve(), (2, 3, 4), None)


def records(gain: dict[int, float]) -> list[TrialRecord]:
    curve, found = like_paper_curve(), []
    for k in (2, 3, 4):
        for n in (3_000, 6_000, 12_000, 24_000):
            reward = 0.4 + 0.005 * curve.at(n) + gain[k]
            found.append(trial(n, k, (reward - 0.001, reward + 0.001), diversity=curve.at(n)))
    return found


def asked(best_at_four: float, rewards: tuple[float, ...]) -> tuple[StudyAnalysis, PerSplit]:
    """Four responses gain `best_at_four` at their own best, and lose to three otherwise."""
    study = analyse("a study", records({2: 0.0, 3: 0.03, 4: best_at_four}), QUESTION)
    assert study.fit and study.recommendation
    at = TunedAt(split=Split(12_000, 4), best=OWN, rewards=rewards, once=(0.50, 0.502))
    same = TunedAt(split=Split(16_000, 3), best=ONCE, rewards=(0.53,), once=(0.53,))
    found = per_split(
        [at, same],
        ONCE,
        study.fit,
        study.recommendation.best.split,
        records({2: 0.0, 3: 0.03, 4: 0.0}),
        QUESTION,
        seed=0,
        margin=0.002,
    )
    return replace(study, tuned=found), found


def test_advice_that_moved_with_the_hyperparameters_is_said_first(tmp_path: Path) -> None:
    study, found = asked(0.06, (0.56, 0.558))
    at_four, at_three = found.splits
    assert at_four.moved and at_four.gain == pytest.approx(0.058) and not at_three.moved
    assert found.advice_moved and found.advised.responses == 4
    assert found.advised_once is not None and found.advised_once.responses == 3
    html = write_report(tmp_path, study).read_text()
    first = html[: html.index("Reward on diversity")]
    assert (
        "The best hyperparameters moved with the split: learning_rate=0.0001 at 12,000 x 4 (+0.058" in first
    )
    assert f"the advice would be {found.advised_once}: it moved to {found.advised}" in first
    kept = json.loads(json.dumps(study.results()["recommendation.json"]))["tuning"]
    assert kept["advice_moved"] and [one["moved"] for one in kept["splits"]] == [True, False]


def test_a_difference_within_the_noise_is_no_move() -> None:
    _, found = asked(0.0, (0.5025,))
    assert not found.splits[0].moved and not found.advice_moved
    hyperparameters, advice = found.sentences()
    assert hyperparameters.startswith("No split has hyperparameters that are better there beyond doubt")
    assert "at 16,000 x 3, as tuned once" in hyperparameters and advice.endswith("would be the same.")
