from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import FillBetweenPolyCollection
from support.paper import group, like_paper, like_paper_curve, study, trial

from search.advice.analysis import analyse
from search.config.cost import CostModel
from search.fit.curve import DiversityCurve
from search.fit.fit import fit_trials
from search.fit.question import Question
from search.report.plots import (
    diversity_by_prompts,
    reward_by_budget,
    reward_by_size,
    rewards_by_domain,
    rising_branch,
)
from search.report.report import write_report
from search.trials.record import TrialRecord

PICTURES = {
    "reward_on_diversity",
    "reward_on_prompts",
    "reward_by_split",
    "reward_by_budget",
    "cost_models",
    "diversity",
}


def written(
    folder: Path, records: list[TrialRecord], curve: DiversityCurve, budget: float, name: str = "a study"
) -> str:
    tried = tuple(sorted({record.responses for record in records}))
    question = Question(budget, CostModel(), curve, tried, None)
    study = analyse(name, records, question, base_reward=0.46, notes={"model": "OPT-1.3B <&>"})
    path = write_report(folder, study)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


def test_the_report_is_one_file_that_asks_for_nothing(tmp_path: Path) -> None:
    html = written(tmp_path, like_paper(), like_paper_curve(), 48_000, name="<script>alert(1)</script>")
    code = re.sub(r"/\*.*?\*/", "", html, flags=re.DOTALL)  # a library's banner names its home
    assert re.findall(r'(?:src|href)="(?!data:)|https?:|@import|url\(', code) == []
    assert "<script>alert" not in html and "OPT-1.3B &lt;&amp;&gt;" in html
    assert {path.stem for path in (tmp_path / "plots").glob("*.png")} == PICTURES
    assert html.count("data:image/png;base64,") == len(PICTURES)
    assert all(re.search(r'alt="[^"]{20,}"', tag) for tag in re.findall(r"<img[^>]*?alt=\"[^\"]*\"", html))


def test_advice_that_does_not_beat_the_base_model_says_so_first(tmp_path: Path) -> None:
    question = Question(48_000, CostModel(), like_paper_curve(), (2, 3, 4), None)
    study = analyse("a study", like_paper(), question, base_reward=0.6)
    said = "12,000 x 4 is not seen to beat the base model, whose reward is 0.600"
    assert said in study.not_above_base()[0]
    assert study.results()["recommendation.json"]["above_base"] is False
    html = write_report(tmp_path, study).read_text(encoding="utf-8")
    assert html.index(said) < html.index("Reward on diversity")


def test_the_report_says_what_matters(tmp_path: Path) -> None:
    html = written(tmp_path, like_paper(), like_paper_curve(), 48_000)
    assert "not seen to beat the base model" not in html
    for words in (
        "Label 12,000 prompts x 4 responses", "edge of what was tried: try 5", "equal comparisons",
        "cannot tell diversity from the mere number of prompts", "not people&#x27;s judgement",
        "line per k on log prompts", "16,000 x 3", "+0.088 (it has 0.460)", "one seed",
    ):  # fmt: skip
        assert words in html


def test_domains_and_rivals_are_shown_where_there_are_any(tmp_path: Path) -> None:
    records = [
        replace(
            t,
            results=tuple(
                replace(r, domain_rewards={"code": t.reward + 0.05, "chat": t.reward - 0.05})
                for r in t.results
            ),
            baselines={"entropy": t.diversity + 1},
        )
        for t in study(1)
    ]
    html = written(tmp_path, records, DiversityCurve.from_trials(records), 12_000)
    assert (tmp_path / "plots" / "domains.png").exists()
    assert "<th>entropy</th>" in html and "By domain" in html


def test_a_study_of_one_spend_is_reported_without_lines(tmp_path: Path) -> None:
    records = [trial(1200 // k, k, (0.4 + k / 100, 0.41 + k / 100)) for k in (2, 3, 4)]
    html = written(tmp_path, records, DiversityCurve.from_trials(records), 1200)
    assert "only tried splits are compared" in html
    assert not (tmp_path / "plots" / "reward_by_budget.png").exists()


@pytest.mark.parametrize("against", ["diversity", "prompts"])
def test_each_number_of_responses_has_its_own_colour_marker_and_dash(against: str) -> None:
    records = study(1)
    fit = fit_trials(records)
    question = Question(12_000, CostModel(), DiversityCurve.from_trials(records), (2, 3, 4), None)
    axes = reward_by_size(fit, question, 0.3, against).axes[0]
    lines = [line for line in axes.lines if len(line.get_xdata()) > 10]
    points = [line for line in axes.lines if line.get_marker() not in ("None", "_", "|")]
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 3
    assert len({line.get_marker() for line in points}) == 3
    bands = np.vstack([path.vertices for band in axes.collections for path in band.get_paths()])
    assert bands[:, 1].min() >= 0 and bands[:, 1].max() <= 1, "no band tells of rewards that cannot be"
    assert reward_by_budget(fit, question) is not None and rewards_by_domain(fit) is None


def test_the_line_on_diversity_never_turns_back() -> None:
    sizes = (10, 20, 40, 80, 160, 320)
    curve = DiversityCurve(sizes, (2.0, 2.6, 3.0, 3.2, 3.0, 2.7))
    records = [
        trial(n, k, (0.5 - 0.01 * np.log(n), 0.51 - 0.01 * np.log(n)), diversity=curve.at(n))
        for n, k in ((20, 8), (40, 8), (80, 8), (40, 4), (80, 4), (160, 4), (80, 2), (160, 2), (320, 2))
    ]
    fit = fit_trials(records)
    n, diversity = rising_branch(fit, curve)
    assert (np.diff(n) > 0).all() and (np.diff(diversity) > 0).all() and n[-1] == 80
    assert diversity[0] == pytest.approx(2.6, abs=0.02) and diversity[-1] == pytest.approx(3.2, abs=0.02)
    axes = reward_by_size(fit, Question(640, CostModel(), curve, (2, 4, 8), None), None, "diversity").axes[0]
    filled = [band for band in axes.collections if isinstance(band, FillBetweenPolyCollection)]
    bands = [path.vertices[:, 0] for band in filled for path in band.get_paths()]
    assert bands
    assert all(np.ptp(band) >= 0.95 * (3.2 - 2.6) for band in bands), "bands reach over the whole axis"
    assert "where D falls" in axes.get_legend().get_texts()[-1].get_text()


def test_visits_per_prompt_stand_in_the_table_where_splits_differ_in_them(tmp_path: Path) -> None:
    records = study(1)
    question = Question(12_000, CostModel(), DiversityCurve.from_trials(records), (2, 3, 4), None)
    html = write_report(tmp_path, analyse("a study", records, question, visits=6_000)).read_text()
    assert "<th>visits per prompt</th>" in html and "<td>0.5</td>" not in html  # 12,000 / 2 prompts: once
    assert {6_000 / r.prompts for r in records} >= {1.0, 2.0, 8.0}
    assert all(f"<td>{6_000 / r.prompts:.3g}</td>" in html for r in records)
    without = write_report(tmp_path, analyse("a study", records, question)).read_text()
    assert "visits per prompt" not in without


def test_earlier_trials_are_told_apart_and_their_predictions_are_shown(tmp_path: Path) -> None:
    earlier = [replace(r, earlier=dict.fromkeys(r.seeds, "runs/theirs")) for r in study(1)]
    records = [*earlier, trial(2_000, 3, (0.37, 0.372)), trial(2_500, 4, (0.7, 0.7))]
    html = written(tmp_path, records, DiversityCurve.from_trials(records), 12_000)
    assert (tmp_path / "plots" / "predictions.png").exists()
    assert "The earlier trials alone predicted 1 of this study&#x27;s 2 trials" in html
    assert html.count("<td>earlier: runs/theirs</td>") == len(earlier) and html.count("<td>here</td>") == 2
    assert "observed 0.700: outside." in html
    question = Question(12_000, CostModel(), DiversityCurve.from_trials(records), (2, 3, 4), None)
    axes = reward_by_size(fit_trials(records), question, None, "prompts").axes[0]
    assert "ringed: trained in this study" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_trials_of_a_group_are_drawn_apart_and_at_the_studys_height(tmp_path: Path) -> None:
    records = [*study(1), *group("runs/theirs", 0.2, 2), *group("runs/again", -0.1, 3)]
    fit = fit_trials(records)
    question = Question(12_000, CostModel(), DiversityCurve.from_trials(records), (2, 3, 4), None)
    figure = reward_by_size(fit, question, None, "prompts")
    drawn = [line for line in figure.axes[0].lines if line.get_marker() in "osD" and len(line.get_xdata())]
    halves = {line.get_fillstyle() for line in drawn}
    assert halves == {"full", "left", "right"}
    heights = [y for line in drawn for y in line.get_ydata()]
    assert min(heights) > 0.3 and max(heights) < 0.45, "0.2 higher would stand at 0.53 or more"
    [legend] = figure.legends
    by = {offset.group: -offset.amount for offset in fit.offsets}
    assert [text.get_text() for text in legend.get_texts()] == [
        f"{name}: moved by {by[name]:+.3f}, to this study's height" for name in ("runs/again", "runs/theirs")
    ]
    assert {handle.get_fillstyle() for handle in legend.legend_handles} == {"left", "right"}
    [named] = diversity_by_prompts(fit, question).legends
    assert [text.get_text() for text in named.get_texts()] == ["runs/again", "runs/theirs"]
    html = written(tmp_path, records, DiversityCurve.from_trials(records), 12_000)
    assert "Half-filled points: trials of a group, moved by" in html
    assert all(offset.sentence(fit.scale) in html for offset in fit.offsets)


def test_where_a_groups_height_is_not_known_its_trials_stand_where_they_were(tmp_path: Path) -> None:
    own = [trial(6_000 // k, k, (0.4 + k / 100, 0.41 + k / 100)) for k in (2, 3, 4)]
    theirs = replace(own[0], group="runs/theirs", results=own[1].results)
    fit = fit_trials([*own, theirs])
    question = Question(6_000, CostModel(), DiversityCurve.from_trials(own), (2, 3, 4), None)
    figure = reward_by_size(fit, question, None, "prompts")
    [drawn] = [line for line in figure.axes[0].lines if line.get_fillstyle() == "left"]
    assert list(drawn.get_ydata()) == [theirs.reward]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["runs/theirs"]
    html = written(tmp_path, [*own, theirs], DiversityCurve.from_trials(own), 6_000)
    assert "whose rewards may lie higher or lower as a whole" in html


def test_domains_leave_out_trials_of_a_group() -> None:
    records = [
        replace(t, results=tuple(replace(r, domain_rewards={"a": t.reward, "b": 0.3}) for r in t.results))
        for t in [*study(1), *group("runs/theirs", 0.2, 2)]
    ]
    figure = rewards_by_domain(fit_trials(records))
    assert figure is not None
    assert max(x for line in figure.axes[0].lines for x in line.get_xdata()) < 0.45
