"""The advice by other rewards of the same trainings, and what the report and the terminal say of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.paper import like_paper_curve, trial

from search.advice.analysis import StudyAnalysis, analyse
from search.config.cost import CostModel, Split
from search.fit.question import Question
from search.report.report import write_report
from search.trials.record import TrialRecord
from trainers.spec import SeedResult

SIZES = (3_000, 6_000, 12_000, 24_000)
OTHER = "hf (org/other)"


def further(record: TrialRecord, rewards: tuple[float, ...]) -> TrialRecord:
    pairs = zip(record.results, rewards, strict=True)
    return replace(
        record, results=tuple(replace(result, further_rewards={OTHER: reward}) for result, reward in pairs)
    )


def records(*, reversed_: bool) -> list[TrialRecord]:
    """Four responses win by the deciding model; by the other one two do, or four as well."""
    curve, found = like_paper_curve(), []
    for k in (2, 3, 4):
        for n in SIZES:
            d = curve.at(n)
            base = 0.4 + 0.005 * d
            deciding = [base + 0.03 * k + e for e in (0.001, -0.001)]
            other = [base + (-0.03 if reversed_ else 0.03) * k + 0.15 + e for e in (0.0005, -0.001)]
            found.append(further(trial(n, k, tuple(deciding), diversity=d), tuple(other)))
    return found


def asked(found: list[TrialRecord], base: SeedResult | None = None) -> StudyAnalysis:
    question = Question(48_000, CostModel(), like_paper_curve(), (2, 3, 4), None)
    return analyse("a study", found, question, base=base)


def test_a_model_that_ranks_splits_the_other_way_is_the_first_thing_said(tmp_path: Path) -> None:
    study = asked(records(reversed_=True))
    (other,) = study.others
    assert other.changes and other.advised == Split(12_000, 4) and other.best.responses == 2
    assert other.agreement.tau < 0.5 and other.probability > 0.95
    html = write_report(tmp_path, study).read_text()
    first = html[: html.index("Reward on diversity")]
    assert f"By {OTHER} the advice changes: {other.best}, not 12,000 x 4" in first
    kept = json.loads(json.dumps(study.results()["recommendation.json"]))
    assert kept["other_rewards"][0]["changes"] and kept["other_rewards"][0]["name"] == OTHER


def test_a_reward_that_should_not_be_called_one_is_doubted_in_the_first_line(tmp_path: Path) -> None:
    study = replace(asked(records(reversed_=False)), reward_doubt="Not a reward, but forced: 60% & 70%.")
    html = write_report(tmp_path, study).read_text()
    assert "Not a reward, but forced: 60% &amp; 70%." in html[: html.index("Reward on diversity")]
    assert study.results()["recommendation.json"]["reward_doubt"] == study.reward_doubt


def test_a_model_that_agrees_is_reported_below(tmp_path: Path) -> None:
    study = asked(records(reversed_=False))
    (other,) = study.others
    assert not other.changes and other.agreement.tau == 1
    html = write_report(tmp_path, study).read_text()
    where = html.index(f"By {OTHER} the advice is the same")
    assert where > html.index("Reward on diversity") and "By other rewards" in html


def test_a_study_without_answers_or_further_models_says_nothing_of_them(tmp_path: Path) -> None:
    plain = [trial(r.prompts, r.responses, r.rewards, diversity=r.diversity) for r in records(reversed_=True)]
    study = asked(plain)
    assert study.others == () and study.length is None
    assert "By other rewards" not in write_report(tmp_path, study).read_text()


def test_advice_that_rests_on_length_is_the_headline(tmp_path: Path) -> None:
    base, found = with_lengths()
    study = asked(found, base)
    (other,) = study.others
    assert study.length is not None and study.length.slope > 0.05
    assert study.recommendation is not None and study.recommendation.best.responses == 4
    assert other.changes and other.best.responses == 2
    html = write_report(tmp_path, study).read_text()
    assert "Under length control the advice changes" in html[: html.index("Reward on diversity")]
    assert "length-controlled" in html


def with_lengths() -> tuple[SeedResult, list[TrialRecord]]:
    """Policies of four responses write longest and have the highest rewards; but for length, two win."""
    curve, found, prompts = like_paper_curve(), list[TrialRecord](), range(40)
    base = SeedResult(seed=-1, reward=0.3, rewards=(0.3,) * 40, answers=tuple("x" * 100 for _ in prompts))
    for k in (2, 3, 4):
        for n in SIZES:
            d = curve.at(n)
            results = []
            for seed, luck in ((0, 0.001), (1, -0.001)):
                longer = [20 * (k - 2) + 30 * ((i * 7 + seed) % 5 - 2) for i in prompts]
                rewards = [0.35 + 0.004 * d - 0.01 * k + luck + 0.001 * length for length in longer]
                results.append(
                    SeedResult(
                        seed=seed,
                        reward=sum(rewards) / 40,
                        rewards=tuple(rewards),
                        answers=tuple("x" * (100 + length) for length in longer),
                    )
                )
            found.append(replace(trial(n, k, (0.5, 0.5), diversity=d), results=tuple(results)))
    return base, found


def test_trials_that_a_reward_does_not_know_are_counted_in_its_sentence() -> None:
    found = records(reversed_=False)
    bare = [replace(r, results=tuple(replace(o, further_rewards={}) for o in r.results)) for r in found[:2]]
    (other,) = asked([*bare, *found[2:]]).others
    assert "from the 10 of 12 trials it knows" in other.sentence()


@pytest.mark.parametrize("keep", [0, 1])
def test_too_few_trials_by_another_reward_are_no_answer(keep: int) -> None:
    found = records(reversed_=True)
    bare = [replace(r, results=tuple(replace(o, further_rewards={}) for o in r.results)) for r in found]
    assert asked([*found[:keep], *bare[keep:]]).others == ()
