"""The next batch: new prompts, more responses or raters, or no more; nothing is bought twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from support.paper import like_paper_curve, study

from base.errors import InsufficientDataError
from search.cli import main
from search.config.cost import CostModel, Split
from search.fit.forecast import Forecast
from search.prior.batches import Labels, next_batch
from search.trials.trials_csv import write_trials


def certain(
    reward: Callable[[Split], float], deviation: float = 1e-4
) -> Callable[[Sequence[Split]], Forecast]:
    """Predicts `reward`, each split with an independent error."""

    def predict(splits: Sequence[Split]) -> Forecast:
        means = np.array([[reward(split) for split in splits]])
        return Forecast(np.ones(1), means, np.eye(len(splits))[None] * deviation**2, np.full(1, 1e6))

    return predict


ASK = {"cost_model": CostModel(), "responses": (2, 3, 4), "new_prompts": None, "margin": 0.002}


def test_new_prompts_where_prompts_count() -> None:
    batch = next_batch(certain(lambda s: 0.02 * np.log2(s.prompts)), {Labels(2): 1_000}, left=2_000, **ASK)
    assert batch.new == Split(1_000, 2) and batch.top_up is None
    assert batch.cost == 2_000 and not batch.stop
    assert batch.gain == pytest.approx(0.02)


def test_topping_up_where_responses_count() -> None:
    batch = next_batch(certain(lambda s: 0.05 * s.responses), {Labels(2): 1_000}, left=2_000, **ASK)
    assert batch.top_up is not None and (batch.top_up.have, batch.top_up.to) == (Labels(2), Labels(4))
    assert batch.top_up.prompts == 1_000 and batch.new is None
    assert batch.cost == 2_000  # the two responses that each prompt has are not paid again
    assert batch.gain == pytest.approx(0.1)


def test_unequal_labels_count_as_the_mean_over_their_prompts() -> None:
    batch = next_batch(certain(lambda s: 0.1 * s.responses), {Labels(2): 1_000}, left=1_000, **ASK)
    assert batch.top_up is not None and batch.top_up.prompts in (500, 1_000)
    assert batch.gain == pytest.approx(0.1)  # 500 with four, or all with three


def test_it_stops_where_more_would_not_pay() -> None:
    batch = next_batch(certain(lambda s: 0.5 + 1e-4 * s.responses), {Labels(2): 1_000}, left=2_400, **ASK)
    assert batch.stop
    assert batch.text().startswith("stop: another 2,400 annotations are expected to add 0.0002 (95% interval")


def test_it_goes_on_while_a_gain_above_the_margin_is_possible() -> None:
    """The same small expected gain, known badly, is no reason to stop."""
    batch = next_batch(
        certain(lambda s: 0.5 + 1e-4 * s.responses, 0.01), {Labels(2): 1_000}, left=2_400, **ASK
    )
    assert not batch.stop


def test_prompts_that_cannot_be_had_are_not_advised() -> None:
    limited = {**ASK, "new_prompts": 100}
    batch = next_batch(
        certain(lambda s: 0.02 * np.log2(s.prompts)), {Labels(2): 1_000}, left=2_000, **limited
    )
    assert batch.new is not None and batch.new.prompts == 100


def test_nothing_labelled_or_nothing_affordable_is_said() -> None:
    with pytest.raises(InsufficientDataError, match="no prompt has 2 labelled responses"):
        next_batch(certain(lambda s: 0.5), {Labels(1): 50}, left=100, **ASK)
    with pytest.raises(InsufficientDataError, match="buys neither"):
        next_batch(certain(lambda s: 0.5), {Labels(2): 50}, left=0.5, **ASK)


def pool(path: Path, labelled: int, bare: int) -> Path:
    rows = [
        {
            "prompt": f"question number {i}",
            "responses": [{"text": f"answer {j} to {i}", "score": j / 4} for j in range(2)]
            if i < labelled
            else [],
        }
        for i in range(labelled + bare)
    ]
    held = [
        {**row, "prompt": f"held out {i}", "part": "held_out"}
        for i, row in enumerate(rows[: min(labelled, 3)])
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows + held))
    return path


def test_a_pool_gets_its_next_batch_as_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, output = pool(tmp_path / "pool.jsonl", 40, 60), tmp_path / "next.jsonl"
    assert main(["plan", "--after", str(path), "--left", "60", "--json", "--output", str(output)]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert found["labelled"] == {"2": 40}
    assert sum(row["label"] for row in rows) <= 60
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert len({row["prompt"] for row in rows}) == len(rows)
    for row in rows:
        assert row["have"] == (2 if int(row["prompt"].split()[-1]) < 40 else 0)


def test_a_study_folder_answers_from_its_own_trials(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs"
    folder.mkdir()
    write_trials(folder / "trials.csv", study(1))
    (folder / "curve.json").write_text(json.dumps(like_paper_curve().to_dict()))
    said = {"name": "mine", "seed": 0, "base_reward": None, "cost": {}, "budget": 12_000,
            "responses": [2, 3, 4], "max_prompts": 5_000}  # fmt: skip
    (folder / "study.json").write_text(json.dumps(said))
    config = {"pool": {"path": str(pool(tmp_path / "pool.jsonl", 40, 60))}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["plan", "--after", str(folder), "--left", "120"]) == 0
    found = capsys.readouterr().out
    assert found.startswith("from the 9 trials of mine\nnext batch: ")
