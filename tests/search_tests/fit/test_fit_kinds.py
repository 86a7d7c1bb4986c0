"""Whose labels: people's, a judge's or a mixture, at their prices; a mixture never stands alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories import planned, record
from pydantic import ValidationError

from base.errors import InsufficientDataError
from search.advice.analysis import StudyAnalysis, analyse
from search.config.cost import CostModel, Labelling, Split
from search.config.study import StudyConfig
from search.fit.curve import DiversityCurve
from search.fit.question import Question
from search.plan.space import Space
from search.report.report import write_report
from search.trials.record import TrialRecord
from search.trials.trials_csv import read_trials, write_trials

CURVE = DiversityCurve((10, 100, 1_000, 10_000, 100_000), (4.0, 8.0, 12.0, 16.0, 20.0))
COST = CostModel(per_annotation=1, per_judged=0.1)
BUDGET = 4_800


def trials(judge: float, mixed: float = 0.0) -> list[TrialRecord]:
    """Rewards on lines in log prompts; labels that are not all people's lose so much."""
    generator, found = np.random.default_rng(5), []
    for share, loss in ((1.0, 0.0), (0.5, mixed), (0.0, judge)):
        for k in (2, 4):
            for fraction in (0.25, 0.5, 1.0):
                n = int(fraction * BUDGET / COST.cost_per_prompt(k, Labelling(human_share=share)))
                truth = 0.4 + 0.004 * k + 0.01 * np.log(n / 1000) - loss
                trial = planned(n, k, (0, 1, 2), human_share=share, budget_fraction=fraction)
                rewards = truth + generator.normal(0, 0.001, 3)
                found.append(record(trial, *rewards, cost=COST.of(trial.point.split), diversity=CURVE.at(n)))
    return found


def study(records: list[TrialRecord]) -> StudyAnalysis:
    return analyse("s", records, Question(BUDGET, COST, CURVE, (2, 3, 4), 100_000))


def test_each_kind_has_its_price() -> None:
    cost = CostModel(per_annotation=1, per_judged=0.1, per_prompt=2, per_generated=0.01, generated=8)
    of = {
        "people": Labelling(3, human_share=1.0),
        "judge": Labelling(human_share=0.0),
        "mixed": Labelling(3, human_share=0.25),
    }
    found = {name: cost.cost_per_prompt(4, how) - 2.08 for name, how in of.items()}
    assert found == pytest.approx({"people": 12, "judge": 0.4, "mixed": 3.4})
    # Candidates that a judge has to score before any is chosen by its margins are paid for.
    assert cost.cost_per_prompt(4, Labelling(response_choice="far")) - 2.08 == pytest.approx(4 + 0.8)


@pytest.mark.parametrize(("judge", "mixed", "best"), [(0.03, 0.03, 1.0), (0.0, 0.03, 0.0), (0.03, 0.0, 0.5)])
def test_the_kind_that_is_worth_its_price_wins(judge: float, mixed: float, best: float) -> None:
    # Ten times the prompts are worth 0.023, and a judge costs a tenth.
    answer = study(trials(judge, mixed)).recommendation
    assert answer is not None and answer.best.labelling.human_share == best
    for split in answer.splits:
        assert split.cost <= BUDGET * (1 + 1e-9)


def test_all_people_and_all_judge_stand_beside_a_mixture(tmp_path: Path) -> None:
    found = study(trials(0.03, 0.0))
    answer = found.recommendation
    assert answer is not None
    sentence = answer.sentence()
    assert "1,200 x 4 human, 0." in sentence and "x 4 judge, 0." in sentence and "mixed 0.5, 0." in sentence
    plain = answer.to_dict()
    assert plain["recommended"]["human_share"] == 0.5
    assert plain["headline"].endswith("50% of the prompts by people and the others by a judge")
    page = write_report(tmp_path, found).read_text()
    assert "labels: mixed 0.5" in page and (tmp_path / "plots/reward_by_labels.png").exists()


def test_a_mixture_that_was_tried_alone_says_what_is_missing_beside_it() -> None:
    mixed = [one for one in trials(0.03) if one.human_share == 0.5]
    answer = study(mixed).recommendation
    assert answer is not None
    assert "human: none was tried" in answer.sentence() and "judge: none was tried" in answer.sentence()
    people = study([one for one in trials(0.03) if one.human_share == 1]).recommendation
    assert people is not None and people.labelling == "All labels are of one kind: human."


def test_prices_that_know_no_judge_compare_one_kind_alone() -> None:
    answer = study(trials(0.0, 0.03)).recommendation
    assert answer is not None and answer.best.labelling.labels == "judge"
    people = study(trials(0.03, 0.03)).recommendation
    assert people is not None
    names = [view.name for view in people.cost_models]
    assert names == ["your prices", "equal annotations", "equal comparisons"]
    for view in people.cost_models[1:]:
        assert {split.human_share for split in view.splits} == {1.0}


def test_the_table_of_trials_keeps_the_kind(tmp_path: Path) -> None:
    records = trials(0.01)
    write_trials(tmp_path / "t.csv", records)
    assert {one.point for one in read_trials(tmp_path / "t.csv")} == {
        replace(one.point, budget_fraction=None) for one in records
    }
    (tmp_path / "odd.csv").write_text((tmp_path / "t.csv").read_text().replace(",0.5\n", ",1.5\n"))
    with pytest.raises(InsufficientDataError, match="human_share: 1.5"):
        read_trials(tmp_path / "odd.csv")


def config(**search: Any) -> dict[str, Any]:
    tree = {"name": "s", "budget": 480, "pool": {"path": "demo"}, "cost": {"per_judged": 0.1}}
    return {**tree, "search": {"responses": [2, 4], "budget_fractions": [0.5, 1.0], **search}}


def test_every_kind_is_tried_and_people_come_first() -> None:
    labels = ["judge", "mixed", "human"]
    space = Space(StudyConfig.model_validate(config(labels=labels, raters=[1, 2], agreement=0.8)))
    assert [str(Split.of(1, 2, one)) for one in space.labellings] == [
        "1 x 2 x 1 human", "1 x 2 x 2 human", "1 x 2 x 1 mixed 0.5", "1 x 2 x 2 mixed 0.5", "1 x 2 judge",
    ]  # fmt: skip
    for point in space.grid():
        assert space.config.cost.of(point.split) <= 480 * (point.budget_fraction or 0) * (1 + 1e-9)
        assert (point.agreement is None) == (point.human_share == 0)
    asked: dict[str, Any] = {}
    point = space.walk(lambda name, domain: asked.setdefault(name, domain.values[-1]))  # type: ignore[union-attr]
    assert point.human_share == 0 and "raters" not in asked and asked["human_share"] == 0


@pytest.mark.parametrize(
    ("search", "cost", "said"),
    [
        ({"labels": ["mixed", "human"]}, {}, "name human, judge and mixed"),
        ({"labels": ["human", "human"]}, {}, "twice"),
        ({"labels": ["human", "judge"]}, {"per_judged": 0}, "per_judged is 0"),
        (
            {"labels": ["human", "judge"], "response_choices": ["random", "far"]},
            {},
            "whose labels those are",
        ),
        ({"labels": ["human"], "prior": "studies"}, {}, "kinds of labels"),
    ],
)
def test_kinds_that_cannot_be_compared_or_paid_are_refused(
    search: dict[str, Any], cost: dict[str, Any], said: str
) -> None:
    tree = config(**search)
    tree["cost"] = {"per_judged": 0.1, **cost}
    with pytest.raises(ValidationError, match=said):
        StudyConfig.model_validate(tree)
