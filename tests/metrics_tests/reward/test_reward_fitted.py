"""The fitted reward: the Bradley-Terry fit itself, what it reports, and what its artifact refuses."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.tiny_rewards import examples_rewarding, save_base_model
from transformers import AutoModel, AutoTokenizer

from base.errors import RewardError
from metrics.config import RewardConfig
from metrics.reward.bradley_terry import Pairs, accuracy, cross_fit, fit, pairs_of, split_prompts
from metrics.reward.dialogue import Window, encode
from metrics.reward.features import Features
from metrics.reward.fitted import FittedReward, fit_reward_model, fit_sample
from metrics.reward.report import FittedReport
from pools.types import Example, Prompt, Response

CONFIG = RewardConfig(kind="fitted", fit_folds=3, fit_head="frozen")


@given(st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0]), max_size=5), max_size=5))
def test_pairs_are_all_unequal_scores_within_a_prompt(scores: list[list[float]]) -> None:
    flat = [(prompt, score) for prompt, row in enumerate(scores) for score in row]
    expected = {
        (a, b, flat[a][0])
        for a in range(len(flat))
        for b in range(len(flat))
        if flat[a][0] == flat[b][0] and flat[a][1] > flat[b][1]
    }
    pairs = pairs_of(scores)
    assert (
        set(zip(pairs.better.tolist(), pairs.worse.tolist(), pairs.prompt.tolist(), strict=True)) == expected
    )
    assert len(pairs) == len(expected)


def test_the_fit_by_hand() -> None:
    # One feature; 3 of 4 pairs prefer the row one unit higher: sigmoid(w) = 3/4, so w = log 3.
    features = np.array([[0.0], [1.0]], dtype=np.float32)
    pairs = Pairs(np.array([1, 1, 1, 0]), np.array([0, 0, 0, 1]), np.array([0, 1, 2, 3]))
    assert fit(features, pairs, l2=0.0)[0] == pytest.approx(np.log(3), abs=1e-4)


def test_the_penalty_shrinks_the_weights() -> None:
    features, pairs, _ = linear_ground(seed=0)
    sizes = [np.linalg.norm(fit(features, pairs, l2=l2)) for l2 in (0.001, 0.03, 1.0)]
    assert sizes[0] > sizes[1] > sizes[2]


def test_the_fit_recovers_a_linear_preference() -> None:
    features, pairs, truth = linear_ground(seed=1)
    found = cross_fit(features, pairs, folds=3, rng=np.random.default_rng(0))
    assert np.corrcoef(fit(features, pairs, l2=found.l2), truth)[0, 1] > 0.9


def test_cross_fitted_values_owe_nothing_to_their_own_scores() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 300))
    pairs = pairs_of(rng.random((100, 4)).tolist())
    values = cross_fit(features, pairs, folds=4, rng=rng).values
    assert accuracy(features @ fit(features, pairs, l2=0.01), pairs)[0] > 0.9
    share, error = accuracy(values, pairs)
    assert abs(share - 0.5) < 3 * error


def linear_ground(seed: int) -> tuple[np.ndarray, Pairs, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(400, 10)).astype(np.float32)
    truth = rng.normal(size=10)
    scores = (features @ truth + rng.normal(scale=1.0, size=400)).reshape(100, 4)
    return features, pairs_of(scores.tolist()), truth


def test_folds_never_share_a_prompt_and_cover_all() -> None:
    _, pairs, _ = linear_ground(seed=0)
    seen: list[int] = []
    for rest, left_out in split_prompts(pairs, folds=4, rng=np.random.default_rng(0)):
        assert not set(rest.prompt) & set(left_out.prompt)
        assert len(rest) + len(left_out) == len(pairs)
        seen += sorted(set(left_out.prompt.tolist()))
    assert sorted(seen) == list(range(100))


def test_accuracy_counts_ties_half_and_its_error_counts_prompts() -> None:
    pairs = pairs_of([[1.0, 0.0], [1.0, 0.0]])
    assert accuracy(np.array([2.0, 1.0, 5.0, 5.0]), pairs)[0] == 0.75
    one_prompt_right = accuracy(np.array([1.0, 0.0, 0.0, 1.0]), pairs)
    assert one_prompt_right == (0.5, pytest.approx(0.5))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_base_model(tmp_path_factory.mktemp("base")))


@pytest.fixture(scope="module")
def fitted(base: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FittedReport]:
    folder = tmp_path_factory.mktemp("head")
    return folder, fit_head(examples_rewarding("a", prompts=60), base, folder)


def fit_head(examples: list[Example], base: str, folder: Path, config: RewardConfig = CONFIG) -> FittedReport:
    sample = fit_sample(examples, config, seed=0)
    return fit_reward_model(sample, base_model=base, directory=folder, config=config, device="cpu")


def test_a_preference_that_the_features_show_is_learnt(base: str, fitted: tuple[Path, FittedReport]) -> None:
    folder, report = fitted
    assert report.accuracy > 0.8
    assert report.warning == ""
    unseen = examples_rewarding("a", prompts=20, seed=9)
    model = FittedReward(folder, base_model=base, config=CONFIG, device="cpu")
    values = np.array(
        [s for e in unseen for s in model.score([e.prompt] * 4, [response.text for response in e.responses])]
    )
    pairs = pairs_of([[response.score for response in example.responses] for example in unseen])
    assert accuracy(values, pairs)[0] > 0.8


def test_scores_spread_over_the_unit_interval(base: str, fitted: tuple[Path, FittedReport]) -> None:
    model = FittedReward(fitted[0], base_model=base, config=CONFIG, device="cpu")
    examples = examples_rewarding("a", prompts=60)
    scores = [s for e in examples for s in model.score([e.prompt] * 4, [r.text for r in e.responses])]
    assert np.mean(scores) == pytest.approx(0.5, abs=0.05)
    assert 0.15 < np.std(scores) < 0.3


def test_scores_without_any_sense_bring_a_warning(base: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = [
        Example(e.prompt, tuple(Response(r.text, float(rng.random())) for r in e.responses))
        for e in examples_rewarding("a", prompts=60)
    ]
    report = fit_head(noise, base, tmp_path)
    assert abs(report.accuracy - 0.5) < 4 * report.accuracy_se
    assert "unseen pairs" in report.warning


def test_the_report_says_what_length_alone_would_do(base: str, tmp_path: Path) -> None:
    longer = [
        Example(e.prompt, tuple(Response(r.text, len(r.text) / 100) for r in e.responses))
        for e in examples_rewarding("a", prompts=12)
    ]
    assert fit_head(longer, base, tmp_path).length_accuracy == 1.0


def test_same_seed_same_head(base: str, fitted: tuple[Path, FittedReport], tmp_path: Path) -> None:
    report = fit_head(examples_rewarding("a", prompts=60), base, tmp_path)
    assert asdict(report) == asdict(fitted[1])
    for file in ("head.safetensors", "head.json"):
        assert (tmp_path / file).read_bytes() == (fitted[0] / file).read_bytes()


def test_no_more_prompts_are_read_than_asked(base: str, tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"fit_prompts": 15})
    assert fit_head(examples_rewarding("a", prompts=40), base, tmp_path, config).prompts == 15


def test_scores_that_do_not_differ_cannot_be_fitted(base: str, tmp_path: Path) -> None:
    flat = [Example(Prompt(str(i)), (Response("a", 1.0), Response("b", 1.0))) for i in range(30)]
    with pytest.raises(RewardError, match="0 of 30 train prompts.*at least 6"):
        fit_head(flat, base, tmp_path)


def test_another_base_model_is_noticed(fitted: tuple[Path, FittedReport], tmp_path: Path) -> None:
    wider = save_base_model(tmp_path / "wider", hidden=48)
    with pytest.raises(RewardError, match="reads 64 features.*has 96"):
        FittedReward(fitted[0], base_model=str(wider), config=CONFIG, device="cpu")
    other = save_base_model(tmp_path / "other", seed=1)
    with pytest.raises(RewardError, match="correlate at .* another base model"):
        FittedReward(fitted[0], base_model=str(other), config=CONFIG, device="cpu")


def test_the_window_of_the_fit_is_kept(base: str, fitted: tuple[Path, FittedReport]) -> None:
    narrow = CONFIG.model_copy(update={"max_response_tokens": 2})
    narrowed = FittedReward(fitted[0], base_model=base, config=narrow, device="cpu")
    plain = FittedReward(fitted[0], base_model=base, config=CONFIG, device="cpu")
    pair = ([Prompt("p")], ["abcabcabc"])
    assert narrowed.score(*pair) == plain.score(*pair)


@pytest.mark.parametrize("damage", ["no folder", "no weights", "not json", "no bias"])
def test_a_damaged_artifact_is_refused(
    base: str, fitted: tuple[Path, FittedReport], tmp_path: Path, damage: str
) -> None:
    facts = json.loads((fitted[0] / "head.json").read_text())
    if damage != "no folder":
        (tmp_path / "head.safetensors").write_bytes((fitted[0] / "head.safetensors").read_bytes())
        (tmp_path / "head.json").write_text(json.dumps(facts))
    if damage == "no weights":
        (tmp_path / "head.safetensors").write_bytes(b"nothing")
    if damage == "not json":
        (tmp_path / "head.json").write_text("{")
    if damage == "no bias":
        (tmp_path / "head.json").write_text(json.dumps({"report": {}}))
    with pytest.raises(RewardError, match="holds no readable fitted reward"):
        FittedReward(tmp_path, base_model=base, config=CONFIG, device="cpu")


def test_a_base_model_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    with pytest.raises(RewardError, match="cannot load the base model .*nowhere"):
        fit_head(examples_rewarding("a", prompts=12), str(tmp_path / "nowhere"), tmp_path)


def test_features_are_the_states_two_thirds_up_of_each_answer(tmp_path: Path) -> None:
    path = str(save_base_model(tmp_path, layers=3))
    tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path)
    answers = ["Hello", "A longer answer"]
    found = Features(path, config=CONFIG, device="cpu")([Prompt("Hi")] * 2, answers)
    for row, answer in zip(found, answers, strict=True):
        before, after = encode(tokenizer, Prompt("Hi"), answer, Window(256, 256))
        with torch.no_grad():
            states = model(torch.tensor([before + after]), output_hidden_states=True).hidden_states[2][0]
            states = model.norm(states)[len(before) :]
        expected = torch.cat([states.mean(0), states[-1]]).numpy()
        np.testing.assert_allclose(row, expected, atol=1e-5)
