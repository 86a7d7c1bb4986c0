"""The next batch where a study varied raters: labelled responses may go to further raters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from support.scripted_rater import answer, by_score
from support.varied_raters import BUDGET, CURVE, trials

from base.errors import InsufficientDataError
from pools.config import PoolConfig
from pools.raters import raters_each
from pools.sources import load_pool
from search.cli import main
from search.commands import plan
from search.config.cost import CostModel, Split
from search.fit.fit import fit_trials
from search.fit.forecast import Forecast
from search.fit.question import predict
from search.prior.batches import Batch, Labels, Predict, TopUp, next_batch, options
from search.prior.labelling_order import labelled_counts
from search.trials.record import TrialRecord
from search.trials.trials_csv import write_trials

ASK: dict[str, Any] = {
    "cost_model": CostModel(), "responses": (2, 3, 4), "raters": (1, 3), "new_prompts": None, "margin": 0.002,
}  # fmt: skip


def batch_after(gain: float, labelled: dict[Labels, int], left: float, **more: Any) -> Batch:
    """By the fit of trials in which a doubling of raters adds `gain`."""
    fit = fit_trials(trials(gain))
    return next_batch(lambda splits: predict(fit, splits, CURVE), labelled, left=left, **ASK | more)


def test_raters_are_topped_up_where_they_help() -> None:
    batch = batch_after(0.012, {Labels(4, 1): 400}, 3_200)
    assert batch.top_up == TopUp(400, Labels(4, 1), Labels(4, 3)) and batch.new is None
    assert batch.cost == 3_200  # the first rater's 1,600 are paid
    assert 0.012 < batch.gain < 0.026 and not batch.stop
    assert batch.text().startswith(
        "next batch: 2 more raters for 400 prompts that have 4 responses with 1 rater, for 3,200 annotations"
    )


def test_new_prompts_by_one_rater_where_they_do_not() -> None:
    batch = batch_after(0.0, {Labels(4, 1): 400}, 3_200)
    assert batch.top_up is None and batch.new == Split(800, 4, 1)
    assert "800 x 4 x 1 new prompts x responses x raters" in batch.text()


def test_every_option_is_there_and_nothing_is_bought_twice() -> None:
    labelled = {Labels(2, 1): 100, Labels(4, 3): 10}
    prices = CostModel(per_prompt=3, per_response=2, per_annotation=1, per_comparison=0.5, generated=6)
    found = list(options(labelled, 900.0, prices, (2, 3, 4), (1, 3), None))
    alone = {Labels(new.responses, new.raters) for new, top_up, _ in found if new and not top_up}
    assert alone == {Labels(k, r) for k, r in product((2, 3, 4), (1, 3))}
    topped = {(top_up.have, top_up.to) for _, top_up, _ in found if top_up}
    assert topped == {(Labels(2, 1), to) for to in (Labels(3, 1), Labels(4, 1), Labels(2, 3))}
    assert any(new and top_up for new, top_up, _ in found)
    for new, top_up, after in found:
        paid = sum(prices.of(has.of(prompts)) for has, prompts in labelled.items())
        worth = sum(prices.of(has.of(prompts)) for has, prompts in after.items())
        assert worth - paid <= 900 + 1e-9
        spent = (prices.of(new) if new else 0) + (top_up.cost(prices) if top_up else 0)
        assert worth - paid == pytest.approx(spent)
        if new and top_up:
            assert Labels(new.responses, new.raters) == top_up.to
    further = TopUp(100, Labels(2, 1), Labels(2, 3))
    assert further.cost(prices) == 100 * 2 * (2 * 1 + 1 * 0.5)  # raters alone: no prompt, no response


def certain(splits: Sequence[Split]) -> Forecast:
    """A hundredth for each doubling of raters, nothing for anything else."""
    means = np.array([[0.01 * np.log2(split.raters or 1) for split in splits]])
    return Forecast(np.ones(1), means, 1e-8 * np.eye(len(splits))[None], np.full(1, 1e6))


def test_raters_between_those_tried_count_as_they_are() -> None:
    """From two raters to three is no gain from one to three."""
    batch = next_batch(certain, {Labels(2, 2): 100}, left=200, **ASK)
    assert batch.top_up == TopUp(100, Labels(2, 2), Labels(2, 3))
    assert batch.gain == pytest.approx(0.01 * np.log2(3 / 2), abs=1e-6)
    assert "1 more rater for 100 prompts that have 2 responses with 2 raters" in batch.text()
    assert next_batch(certain, {Labels(2, 5): 100}, left=200, **ASK).gain <= 0  # five count as three


def test_past_studies_have_no_say_on_raters() -> None:
    """A stop has to hold by them for prompts and responses; what raters add is for the trials to say."""

    def prompts(splits: Sequence[Split]) -> Forecast:
        means = np.array([[0.01 * np.log2(split.prompts) for split in splits]])
        return Forecast(np.ones(1), means, 1e-8 * np.eye(len(splits))[None], np.full(1, 1e6))

    def flat(splits: Sequence[Split]) -> Forecast:
        return Forecast(
            np.ones(1), np.full((1, len(splits)), 0.5), 1e-8 * np.eye(len(splits))[None], np.ones(1)
        )

    def ask(trials: Predict, doubt: Predict) -> Batch:
        return next_batch(trials, {Labels(2, 1): 100}, left=400, doubt=doubt, **ASK)

    assert not ask(certain, flat).stop  # raters help by the trials, whatever past studies say
    assert not ask(flat, prompts).stop
    assert ask(flat, flat).stop


def test_too_few_raters_count_as_nothing() -> None:
    with pytest.raises(InsufficientDataError, match="no prompt has 2 labelled responses by 2 raters yet"):
        next_batch(certain, {Labels(2, 1): 50}, left=100, **ASK | {"raters": (2, 3)})


TRUE = {f"answer {place} to {n}": place / 4 for n in range(40) for place in range(4)}


@pytest.fixture
def candidates(tmp_path: Path) -> Path:
    """A pool of forty prompts with four responses that nobody has scored."""
    rows = [
        {"prompt": f"question {n}", "responses": [{"text": f"answer {place} to {n}"} for place in range(4)]}
        for n in range(40)
    ]
    rows.append({"prompt": "held out", "part": "held_out", "responses": [{"text": "so", "score": 0.5}]})
    path = tmp_path / "candidates.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def study_folder(path: Path, pool: Path, gain: float) -> Path:
    path.mkdir()
    write_trials(path / "trials.csv", trials(gain))
    (path / "curve.json").write_text(json.dumps(CURVE.to_dict()))
    said = {"name": "mine", "seed": 0, "base_reward": None, "cost": {}, "budget": BUDGET,
            "responses": [2, 4], "max_prompts": 5_000}  # fmt: skip
    (path / "study.json").write_text(json.dumps(said))
    (path / "config.yaml").write_text(yaml.safe_dump({"pool": {"path": str(pool)}}))
    return path


def exported(pool: Path, folder: str, *more: str) -> list[Path]:
    """The answers of scripted raters to what goes out."""
    output = pool.parent / folder
    assert main(["label", "export", str(pool), *more, "--to", "page", "--output", str(output)]) == 0
    return answer(output, "page", by_score(TRUE))


def imported(pool: Path, files: list[Path]) -> Path:
    output = pool.parent / "scored.jsonl"
    options = ["--pool", str(pool), "--output", str(output), "--overwrite"]
    assert main(["label", "import", *map(str, files), *options]) == 0
    return output


def test_labelled_responses_go_to_further_raters_and_come_back(
    candidates: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = exported(candidates, "batch-1", "--split", "20x4x1")
    scored = imported(candidates, first)
    study, output = study_folder(tmp_path / "runs", scored, gain=0.03), tmp_path / "next.jsonl"
    capsys.readouterr()
    assert main(["plan", "--after", str(study), "--left", "80", "--json", "--output", str(output)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["labelled"] == {"4 x 1": 20} and found["new"] is None
    wanted = {"have": 4, "to": 4, "have_raters": 1, "to_raters": 3}
    assert found["top_up"] == {"prompts": 10, **wanted}
    batch = [json.loads(line) for line in output.read_text().splitlines()]
    assert len(batch) == 10
    assert all(
        (row["have"], row["label"], row["have_raters"], row["to_raters"]) == (4, 0, 1, 3) for row in batch
    )
    assert all(row["rated_by"] == ["rater-1"] and len(row["labelled"]) == 4 for row in batch)

    second = exported(candidates, "batch-2", "--batch", str(output))
    assert "10 prompts (80 annotations) in 20 tasks" in capsys.readouterr().out
    assert [path.stem for path in second] == ["answered-rater-2", "answered-rater-3"]
    scored = imported(candidates, [*first, *second])
    train = load_pool(PoolConfig(path=str(scored)), seed=0)[0].train
    topped = {row["prompt"] for row in batch}
    assert {one.prompt.content: raters_each(one) for one in train} == {
        one.prompt.content: 3 if one.prompt.content in topped else 1 for one in train
    }
    assert labelled_counts(train, raters=1) == {Labels(4, 3): 10, Labels(4, 1): 10}


def test_past_studies_hear_of_the_fewest_raters_alone(
    candidates: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = imported(candidates, exported(candidates, "batch-1", "--split", "20x4x1"))
    heard: list[TrialRecord] = []
    monkeypatch.setattr(plan, "_doubt", lambda task, scale, records: heard.extend(records))
    study = study_folder(tmp_path / "runs", scored, gain=0.03)
    assert main(["plan", "--after", str(study), "--left", "80"]) == 0
    assert heard and {record.raters for record in heard} == {1}


def test_further_responses_are_shown_with_the_labelled_ones(candidates: Path, tmp_path: Path) -> None:
    named = {"labelled": ["answer 3 to 1", "answer 0 to 1"], "rated_by": ["rater-1"]}
    rows: list[dict[str, Any]] = [
        {"prompt": "question 1", "have": 2, "label": 1, "have_raters": 1, "to_raters": 1, **named},
        {"prompt": "question 2", "have": 0, "label": 2, "have_raters": 0, "to_raters": 1},
    ]
    batch = tmp_path / "next.jsonl"
    batch.write_text("\n".join(map(json.dumps, rows)))
    files = exported(candidates, "out", "--batch", str(batch))
    found = {
        one.prompt.content: one
        for one in load_pool(PoolConfig(path=str(imported(candidates, files))), seed=0)[0].train
    }
    texts = {response.text for response in found["question 1"].responses}
    assert len(texts) == 3 and texts > set(named["labelled"])
    assert len(found["question 2"].responses) == 2


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        ({}, ["--raters", "ann,bob"], "ann, bob, but 2 are asked to judge 'question 1' besides ann"),
        ({}, ["--raters", "ann"], "--raters names ann, but 2 are asked for"),
        ({"rated_by": []}, [], "does not say who has judged: name those who have not with --raters"),
        ({"prompt": "another"}, [], "2 responses to 'another'; the pool has 0, and lacks 2 that are"),
        ({"have": "many"}, [], "is no batch of `apportion plan --output`"),
        ({}, ["--selection", "narrow"], "--selection narrow is for --split"),
    ],
)  # fmt: skip
def test_a_batch_that_cannot_go_out_says_why(
    candidates: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    change: dict[str, Any], more: list[str], message: str,
) -> None:  # fmt: skip
    row = {"prompt": "question 1", "have": 2, "label": 0, "have_raters": 1, "to_raters": 3,
           "labelled": ["answer 3 to 1", "answer 0 to 1"], "rated_by": ["ann"]} | change  # fmt: skip
    batch = tmp_path / "next.jsonl"
    batch.write_text(json.dumps(row))
    asked = ["--batch", str(batch), "--to", "csv", "--output", str(tmp_path / "out"), *more]
    assert main(["label", "export", str(candidates), *asked]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
