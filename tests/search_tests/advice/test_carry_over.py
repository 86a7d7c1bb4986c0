"""Whether advice carries over: the judgement, its words, the report's section and the terminal's line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.paper import like_paper_curve, trial

from search.advice.analysis import StudyAnalysis, analyse
from search.advice.carry_over import CarryOver, carry_over
from search.config.cost import CostModel, Split
from search.fit.question import Question
from search.fit.target import believe_target, in_order
from search.report.report import write_report
from search.trials.record import TrialRecord

SIZES = (3_000, 6_000, 12_000, 24_000)
CURVE = like_paper_curve()
CONTENDERS = ((12_000, 4), (16_000, 3), (24_000, 2))


def own() -> list[TrialRecord]:
    """Four responses win clearly."""
    generator, found = np.random.default_rng(1), []
    for k in (2, 3, 4):
        for n in SIZES:
            mean = 0.4 + 0.005 * CURVE.at(n) + 0.02 * k
            rewards = tuple((mean + generator.normal(0, 0.002, 2)).tolist())
            found.append(trial(n, k, rewards, diversity=CURVE.at(n)))
    return found


def under(
    setting: str, gain: float, noise: float = 0.002, seeds: int = 4, draw: int = 2
) -> list[TrialRecord]:
    """The contenders under another setting, where one more response is worth `gain`."""
    generator, found = np.random.default_rng(draw), []
    for n, k in CONTENDERS:
        rewards = tuple((0.5 + gain * k + generator.normal(0, noise, seeds)).tolist())
        one = trial(n, k, rewards, diversity=CURVE.at(n))
        found.append(replace(one, point=replace(one.point, transfer=setting)))
    return found


def asked(records: list[TrialRecord]) -> StudyAnalysis:
    question = Question(48_000, CostModel(), CURVE, (2, 3, 4), None)
    return analyse("a study", records, question)


def judged(elsewhere: list[TrialRecord], *settings: str, recommended: Split | None = None) -> CarryOver:
    study = asked(own())
    assert study.fit is not None and study.recommendation is not None
    best = recommended or study.recommendation.best.split
    return carry_over(
        elsewhere, study.fit, study.question, best, asked=settings, margin=0.002, confidence=0.95
    )


def test_the_plan_and_the_report_find_the_same_probabilities() -> None:
    """What ends a setting's trials stands in the report, whatever order its splits are named in."""
    records, splits = under("algorithm sft", -0.004, noise=0.006), [Split(n, k) for n, k in CONTENDERS]
    one = believe_target(records, splits, 0.002)
    other = believe_target(records[::-1], [splits[0], splits[2], splits[1]], 0.002)
    assert one is not None and other is not None
    assert (one.splits, one.still_best, one.runner_up_better) == (
        other.splits,
        other.still_best,
        other.runner_up_better,
    )
    assert one.forecast.mean[one.runner_up] == max(one.forecast.mean[1:])


def test_a_setting_is_settled_only_where_a_look_is_twice_as_sure_as_was_asked() -> None:
    records, splits = under("algorithm sft", -0.004, noise=0.006), [Split(n, k) for n, k in CONTENDERS]
    found = believe_target(records, splits, 0.002)
    assert found is not None
    for still_best, runner_up_better, verdict in (
        (0.98, 0.01, "carries over"),
        (0.96, 0.03, "open"),
        (0.03, 0.96, "open"),
        (0.01, 0.98, "reversed"),
    ):
        one = replace(found, still_best=still_best, runner_up_better=runner_up_better)
        assert one.verdict(0.95) == verdict


def test_splits_of_people_and_of_a_judge_have_an_order() -> None:
    first, judge = Split(9, 2), Split(24, 2, None, human_share=0.0)
    people = Split(24, 2, 3, human_share=1.0)
    assert in_order([first, judge, people]) == in_order([first, people, judge]) == (first, people, judge)


def test_the_same_order_carries_over() -> None:
    (found,) = judged(under("algorithm sft", 0.02)).tried
    assert found.verdict == "carries over" and found.still_best > 0.99
    assert found.advised == found.best == Split(12_000, 4)
    assert found.agreement.tau == 1 and found.agreement.interval_95 is not None
    assert "the advice carries over: 12,000 x 4" in found.sentence()


def test_the_opposite_order_is_a_reversal_with_the_better_split_named() -> None:
    (found,) = judged(under("algorithm sft", -0.02)).tried
    assert found.verdict == "reversed" and found.still_best < 0.01
    assert found.best == Split(24_000, 2) and found.agreement.tau == -1
    assert "24,000 x 2 is ahead of 12,000 x 4 by 0.0" in found.sentence()
    lead = next(one for one in found.leads if one.split == Split(24_000, 2))
    assert lead.here_95[1] < 0 < lead.there_95[0]


def test_noise_leaves_it_open() -> None:
    (found,) = judged(under("algorithm sft", -0.001, noise=0.05, draw=3)).tried
    assert found.verdict == "open" and "it is open whether" in found.sentence()


def test_splits_within_the_margin_carry_over() -> None:
    (found,) = judged(under("algorithm sft", 0.0, noise=0.0004)).tried
    assert found.verdict == "carries over"


def test_what_was_not_tried_is_listed() -> None:
    nothing = judged([])
    assert nothing.tried == () and nothing.line() == ""
    assert nothing.not_tested == (
        "another model", "another algorithm", "another pairing", "another learning rate", "other steps",
        "another reward model",
    )  # fmt: skip
    some = judged(under("learning rate 1e-06", 0.02), "learning rate 1e-06", "steps 12")
    assert some.not_tested == (
        "steps 12", "another model", "another algorithm", "another pairing", "another reward model",
    )  # fmt: skip
    assert "learning rate 1e-06: carries over (over 0.99). Not tested: steps 12, " in some.line()


def test_a_setting_without_noise_or_rivals_is_no_judgement() -> None:
    assert judged(under("algorithm sft", 0.02, seeds=1)).tried == ()
    assert judged(under("algorithm sft", 0.02)[:1]).tried == ()


def test_the_advised_split_is_the_tried_one_nearest_to_the_recommendation() -> None:
    (found,) = judged(under("algorithm sft", 0.02), recommended=Split(14_000, 3)).tried
    assert found.advised == Split(16_000, 3) and found.verdict == "reversed"


@pytest.mark.parametrize(("gain", "first"), [(-0.02, True), (0.02, False)])
def test_the_report_has_a_section_and_leads_with_a_reversal(tmp_path: Path, gain: float, first: bool) -> None:
    study = replace(asked(own()), carried=judged(under("algorithm sft", gain), "algorithm sft"))
    html = write_report(tmp_path, study).read_text()
    top = html[: html.index("Reward on diversity")]
    assert ("Under algorithm sft the advice is reversed" in top) == first
    section = html[html.index("Does it carry over?") :]
    assert "Under algorithm sft" in section and "Not tested: another model, " in section
    assert (tmp_path / "plots" / "carry_over.png").stat().st_size > 5_000
    kept = json.loads(json.dumps(study.results()["recommendation.json"]["transfer"]))
    assert kept["tried"][0]["verdict"] == ("reversed" if first else "carries over")


def test_a_study_that_tried_nothing_says_so_and_a_table_of_trials_does_not(tmp_path: Path) -> None:
    study = asked(own())
    assert "Does it carry over?" not in write_report(tmp_path / "a", study).read_text()
    html = write_report(tmp_path / "b", replace(study, carried=judged([]))).read_text()
    assert "tried under the study&#x27;s own settings alone" in html and "Not tested: another model" in html
