"""Where the noise comes from: known components come out, with the right cheapest way, and are reported."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factories import planned, record

from search.advice.analysis import StudyAnalysis, analyse
from search.config.cost import CostModel
from search.fit.curve import DiversityCurve
from search.fit.question import Question
from search.report.report import write_report
from search.trials.record import TrialRecord

PROMPTS, SEEDS = 60, 4


def trials(
    training: float, judging: float, suits: float = 0.0, seeds: int = SEEDS, gain: float = 0.004
) -> list[TrialRecord]:
    """Twelve splits on a line; standard deviations of a training, of one prompt's reward, and of how well a
    held-out prompt suits a split whatever the seed."""
    generator, found = np.random.default_rng(3), []
    for amount in (96, 192, 384, 768):
        for k in (2, 4, 8):
            n = amount // k
            level = 0.4 + gain * np.log2(n) + gain * 1.5 * np.log2(k) + generator.normal(0, suits, PROMPTS)
            rewards = [
                level + generator.normal(0, training) + generator.normal(0, judging, PROMPTS)
                for _ in range(seeds)
            ]
            made = record(
                planned(n, k, range(seeds)),
                *(float(each.mean()) for each in rewards),
                diversity=2 * float(np.log(n)),
                seconds=seeds * 600.0,
                telemetry={"seconds_evaluate": 60.0},
            )
            found.append(with_rewards(made, [tuple(map(float, each)) for each in rewards]))
    return found


def with_rewards(made: TrialRecord, rewards: list[tuple[float, ...]]) -> TrialRecord:
    results = zip(made.results, rewards, strict=True)
    return replace(made, results=tuple(replace(one, rewards=each) for one, each in results))


def analysed(records: list[TrialRecord]) -> StudyAnalysis:
    question = Question(768, CostModel(), DiversityCurve.from_trials(records), (2, 4, 8), 384)
    return analyse("a study", records, question)


# A tenth of a training is judging, so that more held-out prompts are cheap where they matter.
@pytest.mark.parametrize(
    ("training", "judging", "gain", "cheapest"),
    [(0.03, 0.02, 0.008, "seeds"), (0.01, 0.05, 0.018, "held-out prompts")],
)
def test_known_components_come_out_and_the_right_way_is_the_cheapest(
    training: float, judging: float, gain: float, cheapest: str
) -> None:
    found = analysed(trials(training, judging, gain=gain))
    assert found.noise is not None and found.recommendation is not None
    budget = found.noise.budget
    assert budget.training.interval_95[0] <= training**2 <= budget.training.interval_95[1]
    assert budget.judging.variance == pytest.approx(judging**2 / PROMPTS, rel=0.15)
    assert found.recommendation.flags["undecided"]
    first = found.noise.ways[0]
    assert (first.prompts > 0) == (cheapest == "held-out prompts") and cheapest in first.what
    assert first.hours == min(way.hours for way in found.noise.ways)


def test_report_and_json_show_every_source_and_way(tmp_path: Path) -> None:
    found = analysed(trials(0.01, 0.05, gain=0.018))
    assert found.noise is not None and found.noise.held_out is not None
    html = re.sub(r"\s+", " ", write_report(tmp_path, found).read_text(encoding="utf-8"))
    section = html[html.index("Where the noise comes from") : html.index("Models compared")]
    assert all(line in section for line in found.noise.lines)
    for said in (
        "Training: standard deviation 0.0",
        f"Judging on {PROMPTS} held-out prompts: standard deviation 0.006",
        "Draw of prompts, which splits of one seed share: too few seeds to tell, 0.0000 to 0.0",
        "Two splits with the same seed differ by a standard deviation of",
        "suit one split more than another: the gap between",
        "To decide: ",
        "Whether longer trainings, or weights averaged over their end, deviate less",
    ):
        assert said in section
    kept = found.results()["recommendation.json"]["noise"]
    assert kept["judging"]["variance"] == found.noise.budget.judging.variance
    assert len(kept["ways"]) == len(found.noise.ways) > 0


def test_few_repeated_trainings_give_neither_figures_nor_ways() -> None:
    records = trials(0.03, 0.2)
    few = [with_rewards(made, [()] * SEEDS) for made in records[2:]]
    found = analysed([*few, *(made.with_seeds({0, 1}) or made for made in records[:2])])
    assert found.noise is not None and found.recommendation is not None
    assert found.recommendation.flags["undecided"] and found.noise.ways == ()
    (line,) = found.noise.lines
    assert "the 4 that are known prompt by prompt leave 1 degree of freedom" in line


def test_without_rewards_prompt_by_prompt_nothing_is_said(tmp_path: Path) -> None:
    found = analysed([with_rewards(made, [()] * SEEDS) for made in trials(0.03, 0.2)])
    assert found.noise is None and found.results()["recommendation.json"]["noise"] is None
    assert "Where the noise comes from" not in write_report(tmp_path, found).read_text(encoding="utf-8")


def test_where_no_way_would_do_that_is_said() -> None:
    found = analysed(trials(0.01, 0.2, suits=0.1))
    assert found.noise is not None and found.noise.ways == ()
    assert "Not even 50 more seeds of each on 20 times as many held-out prompts" in " ".join(
        found.noise.lines
    )
