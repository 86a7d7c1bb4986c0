"""The layers that are tuned under a fitted head: how they are trained, kept, resumed and loaded again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_rewards import choose_tuned, examples_rewarding, save_base_model

from base.errors import RewardError
from metrics.config import RewardConfig
from metrics.reward.bradley_terry import Pairs, fit, pairs_of
from metrics.reward.features import Features, Row
from metrics.reward.fitted import FittedReward, RewardFit, fit_reward_model, fit_sample, stages
from metrics.reward.low_rank import apply_change
from metrics.reward.reading import Frozen, read_answers
from metrics.reward.tuned import Below, Tuner
from pools.types import Example, Prompt, Response

CONFIG = RewardConfig(kind="fitted", fit_folds=2, fit_head="best", batch_tokens=600)
EXAMPLES = examples_rewarding("a", prompts=24)
DEEP = 5  # of which three are read: one below two that are tuned


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_base_model(tmp_path_factory.mktemp("base"), layers=DEEP))


def rows_of(features: Features) -> list[Row]:
    return features.rows(
        [example.prompt for example in EXAMPLES for _ in example.responses],
        [response.text for example in EXAMPLES for response in example.responses],
    )


def pairs() -> Pairs:
    return pairs_of([[response.score for response in example.responses] for example in EXAMPLES])


@pytest.mark.parametrize("layers", [DEEP, 2])  # of two, one is read: nothing lies below it
def test_answers_read_from_what_was_kept_are_as_if_read_whole(layers: int, tmp_path: Path) -> None:
    path = str(save_base_model(tmp_path / "model", layers=layers))
    features, whole = (Features(path, config=CONFIG, device="cpu") for _ in range(2))
    rows, below = rows_of(features), Below(features.layers)
    frozen = read_answers(features, rows, below=below, folder=tmp_path, progress=lambda _: None)
    assert len(frozen.states) == (len(rows) if layers == DEEP else 0)
    weights = np.random.default_rng(0).normal(size=features.width)
    values = Tuner(features, below, rows, frozen.states).values(np.arange(len(rows)), weights)
    with torch.inference_mode():
        expected = whole.pooled(rows).double().numpy() @ weights
    np.testing.assert_allclose(values, expected, atol=1e-3)
    np.testing.assert_allclose(frozen.features @ weights, expected, atol=1e-3)


def read(base: str, folder: Path) -> tuple[Features, Below, Frozen]:
    features = Features(base, config=CONFIG, device="cpu")
    below = Below(features.layers)
    rows = rows_of(features)
    return features, below, read_answers(features, rows, below=below, folder=folder, progress=lambda _: None)


def test_tuning_orders_pairs_better_than_the_head_alone_and_leaves_the_weights_as_they_were(
    base: str, tmp_path: Path
) -> None:
    features, below, frozen = read(base, tmp_path)
    before = {name: weight.clone() for name, weight in features.model.state_dict().items()}
    head, every = fit(frozen.standard, pairs(), l2=1.0) / frozen.scale, np.arange(len(frozen.rows))
    tuner = Tuner(features, below, frozen.rows, frozen.states)

    def loss(values: np.ndarray) -> float:
        return float(np.logaddexp(0, values[pairs().worse] - values[pairs().better]).mean())

    with tuner.fitted(pairs(), head, seed=3) as found:
        tuned, change = tuner.values(every, head), found.change()
    assert loss(tuned) < loss(frozen.features @ head) - 0.02
    after = features.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(weight, after[name]) for name, weight in before.items())

    apply_change(features.model, change)
    with torch.inference_mode():
        applied = features.pooled(frozen.rows).double().numpy() @ head
    np.testing.assert_allclose(applied, tuned, atol=1e-3)


def fitting(base: str, folder: Path) -> RewardFit:
    sample = fit_sample(EXAMPLES, CONFIG, seed=0)
    return RewardFit(sample, base_model=base, directory=folder, config=CONFIG, device="cpu")


@pytest.fixture(scope="module")
def whole(base: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    fit_reward_model(
        fit_sample(EXAMPLES, CONFIG, seed=0), base_model=base, directory=folder, config=CONFIG, device="cpu"
    )
    return folder


def test_a_fit_that_was_ended_goes_on_after_its_last_stage(base: str, whole: Path, tmp_path: Path) -> None:
    first, *others = stages(CONFIG)
    fitting(base, tmp_path).run(first)
    kept = (tmp_path / f"{first}.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "read")  # which stays on the machine that is gone
    resumed = fitting(base, tmp_path)
    assert resumed.done(first) and not any(map(resumed.done, others))
    for stage in stages(CONFIG):
        resumed.run(stage)
    assert (tmp_path / f"{first}.safetensors").read_bytes() == kept
    for name in ("head.json", "head.safetensors"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()


def test_tuned_layers_that_order_more_pairs_are_written_and_score_as_they_were_fitted(
    base: str, tmp_path: Path
) -> None:
    sample = fit_sample(EXAMPLES, CONFIG, seed=0)
    choose_tuned(sample, tmp_path, CONFIG)
    told: list[int] = []
    report = fit_reward_model(
        sample, base_model=base, directory=tmp_path, config=CONFIG, device="cpu", progress=told.append
    )
    assert report.head == "tuned" and report.tuned_accuracy == report.accuracy == 1.0
    assert report.frozen_accuracy is not None and report.frozen_accuracy < 1
    assert sum(told) <= fitting(base, tmp_path).answers
    model = FittedReward(tmp_path, base_model=base, config=CONFIG, device="cpu")
    scores = [model.score([e.prompt] * 4, [r.text for r in e.responses]) for e in sample.examples]
    assert np.mean(scores) == pytest.approx(0.5, abs=0.05) and 0.15 < np.std(scores) < 0.3
    other = save_base_model(tmp_path / "other", layers=2)
    with pytest.raises(RewardError, match="does not have; it was fitted on another base model"):
        FittedReward(tmp_path, base_model=str(other), config=CONFIG, device="cpu")


def test_frozen_layers_are_never_tuned_where_that_is_asked(base: str, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"fit_head": "frozen"})
    sample = fit_sample(EXAMPLES, config, seed=0)
    report = fit_reward_model(sample, base_model=base, directory=tmp_path, config=config, device="cpu")
    assert report.head == "frozen" and report.tuned_accuracy is None
    assert {path.name for path in tmp_path.iterdir()} == {"head.json", "head.safetensors", "read"}


def test_each_domain_has_its_own_accuracy(base: str, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"fit_head": "frozen"})
    longer = [
        Example(
            Prompt(e.prompt.text, domain="long" if number % 3 else "letters"),
            tuple(Response(r.text, len(r.text) if number % 3 else r.score) for r in e.responses),
        )
        for number, e in enumerate(EXAMPLES)
    ]
    sample = fit_sample(longer, config, seed=0)
    report = fit_reward_model(sample, base_model=base, directory=tmp_path, config=config, device="cpu")
    assert report.domains.keys() == {"letters", "long"}
    assert report.domains["long"].length_accuracy == 1.0 > report.domains["letters"].length_accuracy
    shares = [(share.pairs, share.accuracy) for share in report.domains.values()]
    assert sum(count for count, _ in shares) == report.pairs
    assert sum(count * share for count, share in shares) == pytest.approx(report.accuracy * report.pairs)
