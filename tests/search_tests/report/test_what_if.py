"""The what-if panel in headless Chromium: its answers are those of `recommend`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.browser import chromium
from support.paper import like_paper, like_paper_curve, study

from search.advice.analysis import analyse
from search.advice.recommend import recommend
from search.config.cost import CostModel
from search.fit.curve import DiversityCurve
from search.fit.fit import Fit, fit_trials
from search.fit.question import Question
from search.report import what_if
from search.report.report import write_report

BUDGET = 48_000.0

# budget, prompts that can be had, prices: twenty settings of the panel.
SETTINGS: list[dict[str, Any]] = [
    {"budget": 48_000}, {"budget": 4_800}, {"budget": 12_345}, {"budget": 480_000}, {"budget": 900},
    {"budget": 48_000, "max_prompts": 9_000}, {"budget": 96_000, "max_prompts": 15_000},
    {"budget": 24_000, "per_prompt": 1}, {"budget": 24_000, "per_prompt": 5.5},
    {"budget": 24_000, "per_prompt": 0.3, "per_response": 2},
    {"budget": 24_000, "per_annotation": 0, "per_comparison": 1},
    {"budget": 24_000, "per_annotation": 0, "per_comparison": 1, "comparisons": "sort"},
    {"budget": 60_000, "per_annotation": 0, "per_comparison": 0.7, "raters": 3},
    {"budget": 48_000, "raters": 2}, {"budget": 30_000, "raters": 5, "per_prompt": 2},
    {"budget": 10_000, "per_generated": 0.05, "generated": 16},
    {"budget": 10_000, "per_generated": 0.5, "generated": 3},
    {"budget": 5_000, "per_annotation": 0.08, "per_prompt": 0.01},
    {"budget": 750, "per_annotation": 0.02, "per_comparison": 0.02, "max_prompts": 20_000},
    {"budget": 200_000, "per_prompt": 3, "per_response": 1, "per_annotation": 2, "per_comparison": 0.5},
]  # fmt: skip


def report(folder: Path, fit: Fit, curve: DiversityCurve, unit: str = "annotations") -> Path:
    """A report on the trials, with its panel."""
    question = Question(BUDGET, CostModel(unit=unit), curve, fit.observed.levels, None)
    return write_report(folder, analyse("what if", fit.records, question, seed=0))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium("the what-if panel") as started:
        yield started


@pytest.fixture(scope="module", params=["lines", "few trials"])
def ground(request: pytest.FixtureRequest) -> tuple[Fit, DiversityCurve]:
    if request.param == "lines":
        return fit_trials(like_paper()), like_paper_curve()
    fit = fit_trials(study(1))
    return fit, DiversityCurve.from_trials(fit.records)


@pytest.mark.slow
def test_the_page_answers_as_recommend_does(
    browser: Any, ground: tuple[Fit, DiversityCurve], tmp_path: Path
) -> None:
    fit, curve = ground
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(report(tmp_path, fit, curve).as_uri())
    for setting in SETTINGS:
        found = page.evaluate("(setting) => whatIf.answer({...whatIf.own, ...setting})", setting)
        prices = {name: v for name, v in setting.items() if name not in ("budget", "max_prompts")}
        most = setting.get("max_prompts")
        question = Question(setting["budget"], CostModel(**prices), curve, fit.observed.levels, most)
        wanted = recommend(fit, question, seed=0)
        _same(found, wanted, setting)
    assert errors == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "labelling", [{"human_share": 0.25}, {"human_share": 0.0}, {"response_choice": "far"}]
)
def test_the_panel_pays_for_what_a_judge_scores(
    browser: Any, tmp_path: Path, labelling: dict[str, Any]
) -> None:
    fit = fit_trials([replace(one, point=replace(one.point, **labelling)) for one in like_paper()])
    curve, prices = like_paper_curve(), {"per_judged": 0.5, "generated": 6}
    question = Question(BUDGET, CostModel(**prices), curve, fit.observed.levels, 400_000)
    page = browser.new_page()
    page.goto(write_report(tmp_path, analyse("judged", fit.records, question, seed=0)).as_uri())
    for setting in ({"budget": 24_000}, {"budget": 30_000, "per_judged": 0.1, "raters": 2}):
        found = page.evaluate("(setting) => whatIf.answer({...whatIf.own, ...setting})", setting)
        cost = CostModel(**prices | {name: v for name, v in setting.items() if name != "budget"})
        asked = Question(setting["budget"], cost, curve, fit.observed.levels, 400_000)
        _same(found, recommend(fit, asked, seed=0), setting)


def _same(found: dict[str, Any], wanted: Any, setting: dict[str, Any]) -> None:
    """The same splits and the same best one; draws may move an interval by 6% of its width."""
    best = (found["best"]["prompts"], found["best"]["responses"])
    assert best == (wanted.best.prompts, wanted.best.responses), setting
    named = {(split["prompts"], split["responses"]): split for split in found["splits"]}
    assert named.keys() == {(split.prompts, split.responses) for split in wanted.splits}, setting
    for theirs in wanted.splits:
        mine = named[theirs.prompts, theirs.responses]
        low, high = theirs.interval_95
        assert mine["cost"] == pytest.approx(theirs.cost), setting
        assert mine["reward"] == pytest.approx(theirs.predicted_reward, abs=2e-5), setting
        assert mine["interval"] == pytest.approx([low, high], abs=max(0.06 * (high - low), 1e-4)), setting
    assert (found["runner"] is None) == (wanted.runner_up is None), setting
    if wanted.runner_up is not None:
        equal = {(split["prompts"], split["responses"]) for split in found["within"]}
        chosen = (found["runner"]["prompts"], found["runner"]["responses"])
        assert chosen not in equal, setting
        theirs = next(s for s in wanted.splits if (s.prompts, s.responses) == chosen)
        assert theirs.exceeds >= wanted.runner_up.exceeds - 0.015, setting
        if theirs.split == wanted.runner_up.split:
            assert found["probability_better"] == pytest.approx(wanted.probability_better, abs=0.02), setting
    assert found["extrapolated"] == wanted.flags["extrapolated"], setting
    assert found["edge"] == wanted.flags["edge"], setting


@pytest.mark.slow
def test_it_is_one_small_file_that_asks_for_nothing(browser: Any, tmp_path: Path) -> None:
    path = report(tmp_path, fit_trials(like_paper()), like_paper_curve())
    assert path.stat().st_size < 6 * 2**20
    page = browser.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    page.fill("[name=budget]", "10000")
    assert all(url.startswith(("file:", "data:")) for url in requests), requests


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_field_moves_the_answer_on_a_narrow_screen(browser: Any, tmp_path: Path, scheme: str) -> None:
    hostile = "</script><img src=x onerror=\"document.title='owned'\">"
    path = report(tmp_path, fit_trials(like_paper()), like_paper_curve(), unit=hostile)
    page = browser.new_page(viewport={"width": 400, "height": 900}, color_scheme=scheme)
    page.goto(path.as_uri())
    before = page.inner_text("#what-if-split")
    page.fill("[name=budget]", "480000")
    assert "160,000 prompts x 3" in page.inner_text("#what-if-split") != before
    assert "Extrapolated" in page.inner_text("#what-if-warnings")
    page.fill("[name=per_annotation]", "0")
    assert "every price is 0" in page.inner_text("#what-if-split")
    page.click("button[type=reset]")
    assert page.inner_text("#what-if-split") == before
    assert page.evaluate("document.querySelector('.what-if').scrollWidth") <= 400
    assert page.title() != "owned"
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert (_grey(ink) > _grey(paper)) == (scheme == "dark")


def _grey(colour: str) -> float:
    return sum(float(part) for part in colour.strip("rgb()").split(",")[:3])


def test_the_data_cannot_end_the_script() -> None:
    fit = fit_trials(like_paper())
    cost = CostModel(unit="</script>")
    question = Question(BUDGET, cost, like_paper_curve(), (2, 3, 4), None)
    page = what_if.panel(fit, question, recommend(fit, question, seed=0))
    data = page.partition('id="what-if-data">')[2].partition("</script>")[0]
    assert json.loads(data)["cost"]["unit"] == "</script>"


def test_without_a_line_there_is_no_panel() -> None:
    fit = fit_trials([record for record in study(1) if record.prompts * record.responses == 12_000])
    curve = DiversityCurve.from_trials(fit.records)
    question = Question(12_000, CostModel(), curve, (2, 3, 4), None)
    assert what_if.panel(fit, question, recommend(fit, question, seed=0)) == ""
