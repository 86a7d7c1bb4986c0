"""The mean of the weights over a training's tail is what is judged and saved, however it is trained."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.ranks import run_ranks
from support.tiny_trial import pool, save_model, setup, untimed
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer

from metrics.reward.verifier import VerifierReward
from trainers.config.trainer import CheckpointConfig, TrainerConfig
from trainers.training.average import TailAverage
from trainers.training.best import BestPolicy
from trainers.training.checkpoint import Checkpointer
from trainers.training.loop import Training
from trainers.training.schedule import averaged_steps
from trainers.trial.evaluate import judge
from trainers.workers.local import LocalContext

HERE = Path(__file__).parent


def layer(*values: float, dtype: torch.dtype = torch.float32) -> nn.Linear:
    """A layer of these weights, and a frozen bias."""
    found = nn.Linear(len(values), 1, dtype=dtype)
    found.bias.requires_grad = False
    set_weights(found, *values)
    return found


def set_weights(model: nn.Linear, *values: float) -> None:
    with torch.no_grad():
        model.weight.copy_(torch.tensor([values]))


def average_of(model: nn.Linear, rows: list[tuple[float, ...]], *, begins: int) -> TailAverage:
    average = TailAverage(begins)
    for step, values in enumerate(rows, start=1):
        set_weights(model, *values)
        average.update(step, model)
    return average


@pytest.mark.parametrize(
    ("tail", "steps", "averaged"), [(0, 24, 0), (0.5, 24, 12), (0.5, 7, 4), (0.1, 30, 3), (0.01, 3, 1)]
)
def test_the_tail_in_steps(tail: float, steps: int, averaged: int) -> None:
    assert averaged_steps(TrainerConfig(average_tail=tail), steps) == averaged


@pytest.mark.parametrize("tail", [-0.1, 1.0])
def test_a_tail_is_a_share_below_one(tail: float) -> None:
    with pytest.raises(ValueError, match="average_tail"):
        TrainerConfig(average_tail=tail)


def test_the_mean_by_hand() -> None:
    model = layer(0.0, 0.0)
    average = average_of(model, [(100.0, 100.0), (1.0, 2.0), (3.0, -2.0), (8.0, 6.0)], begins=2)
    assert average.mean["weight"].tolist() == [[4.0, 2.0]]  # (1 + 3 + 8) / 3 and (2 - 2 + 6) / 3
    assert "bias" not in average.mean  # what is not trained
    assert [average.steps_at(step) for step in (1, 2, 4)] == [0, 1, 3] and average.steps == 3
    with average.applied(model):
        assert model.weight.tolist() == [[4.0, 2.0]]
    assert model.weight.tolist() == [[8.0, 6.0]]
    average.apply(model)
    assert model.weight.tolist() == [[4.0, 2.0]]


def test_the_mean_of_half_precision_is_kept_in_full() -> None:
    model = layer(0.0, dtype=torch.bfloat16)  # which has no number between 256 and 258
    average = average_of(model, [(256.0,), (256.0,), (258.0,)], begins=1)
    assert average.mean["weight"].dtype == torch.float32
    assert average.mean["weight"].item() == pytest.approx(256 + 2 / 3, abs=1e-4)
    average.apply(model)
    assert model.weight.item() == 256.0


def test_before_the_tail_there_is_nothing_to_apply() -> None:
    model = layer(0.0)
    average = average_of(model, [(1.0,), (2.0,)], begins=3)
    with average.applied(model):
        assert model.weight.item() == 2.0
    average.apply(model)
    assert model.weight.item() == 2.0 and average.steps_at(2) == 0


class Engine(SimpleNamespace):
    """Saves and loads nothing."""

    def save_checkpoint(self, folder: str, **options: Any) -> None:
        pass

    def load_checkpoint(self, folder: str, **options: Any) -> None:
        pass


def test_a_checkpoint_holds_the_mean_and_one_of_before_there_were_any_can_be_read(tmp_path: Path) -> None:
    engine: Any = Engine(module=layer(0.0), checkpoint_engine=SimpleNamespace(save=None))
    engine._copy_recovery_script = None
    average = average_of(engine.module, [(1.0,), (4.0,)], begins=1)
    config = CheckpointConfig(every=1)
    checkpointer = Checkpointer(config, LocalContext(checkpoints=tmp_path))
    checkpointer.after_step(0, engine, Training(step=2), BestPolicy(), average, last=False)
    assert checkpointer.error is None

    def resumed() -> TailAverage:
        found = TailAverage(begins=1)
        again = Checkpointer(config, LocalContext(checkpoints=tmp_path))
        assert again.resume(0, engine, BestPolicy(), found).step == 2
        return found

    found = resumed()
    set_weights(engine.module, 7.0)
    found.update(3, engine.module)
    assert found.mean["weight"].item() == 4.0  # (1 + 4 + 7) / 3
    (kept,) = tmp_path.rglob("worker0.pt")
    state = torch.load(kept, weights_only=False)
    del state["average"]
    torch.save(state, kept)
    assert resumed() == TailAverage(begins=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the worker left what its trainings ended with."""
    path = tmp_path_factory.mktemp("average")
    save_model(path / "model")
    run_ranks(HERE / "average_worker.py", 1, path)
    return path


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, dict[str, Any]]:
    """The trainings' results by name."""
    results: dict[str, dict[str, Any]] = json.loads((folder / "1.json").read_text())
    return results


def weights(folder: Path, name: str) -> dict[str, Tensor]:
    """The policy that the training `name` saved."""
    model = AutoModelForCausalLM.from_pretrained(folder / "policies" / f"{name}-seed0")
    return {key: value.detach() for key, value in model.named_parameters()}


def losses(result: dict[str, Any]) -> list[float]:
    """Those of each step."""
    return [row["loss"] for row in result["history"]]


def mean_by_hand(folder: Path, kind: str) -> dict[str, Tensor]:
    """The mean of the policies of trainings that ended after 4, 5, 6 and 7 steps."""
    policies = [weights(folder, f"{kind}-{steps}") for steps in (4, 5, 6, 7)]
    return {name: torch.stack([one[name].float() for one in policies]).mean(0) for name in policies[0]}


@pytest.mark.slow
@pytest.mark.parametrize("stage", range(4))
def test_what_is_saved_is_the_mean_of_the_last_steps_policies(folder: Path, stage: int) -> None:
    wanted, last = mean_by_hand(folder, "fp32"), weights(folder, "fp32-7")
    got = weights(folder, f"{stage}-whole")
    assert all(torch.allclose(got[name], wanted[name], atol=1e-5) for name in wanted)
    far = {name for name in wanted if not torch.allclose(last[name], wanted[name], atol=1e-3)}
    assert len(far) > len(wanted) / 2, "the last policy is another one"


@pytest.mark.slow
def test_in_half_precision_only_the_end_is_rounded(folder: Path) -> None:
    wanted, got = mean_by_hand(folder, "bf16"), weights(folder, "bf16-mean")
    for name, value in wanted.items():
        assert got[name].dtype == torch.bfloat16
        assert torch.allclose(got[name].float(), value, rtol=2**-8, atol=0), name  # half a unit of bf16


@pytest.mark.slow
@pytest.mark.parametrize("name", ["0-whole", "2-whole", "3-whole", "lora-whole"])
def test_what_is_judged_is_what_is_saved(folder: Path, found: dict[str, dict[str, Any]], name: str) -> None:
    policy, given = Path(found[name]["policy"]), setup(folder / "model")
    judged = judge(
        AutoModelForCausalLM.from_pretrained(policy),
        AutoTokenizer.from_pretrained(policy),
        [example.prompt for example in pool().held_out],
        VerifierReward("support.tiny_trial:judge_length"),
        model_config=given.model,
        config=given.evaluation,
        context=LocalContext(),
        sharded=False,
    )
    assert list(judged.answers) == found[name]["answers"]
    assert list(judged.rewards) == found[name]["rewards"]
    if not name.startswith("lora"):
        assert found[name]["answers"] != found["fp32-7"]["answers"], "those of the last policy"


@pytest.mark.slow
@pytest.mark.parametrize("case", ["0", "1", "2", "3", "lora"])
def test_a_killed_training_has_the_same_mean(
    folder: Path, found: dict[str, dict[str, Any]], case: str
) -> None:
    assert untimed(found[f"{case}-killed"]) == untimed(found[f"{case}-whole"])
    whole, killed = (weights(folder, f"{case}-{name}") for name in ("whole", "killed"))
    assert all(torch.equal(value, killed[name]) for name, value in whole.items())


@pytest.mark.slow
def test_workers_that_share_the_weights_average_their_shards(folder: Path) -> None:
    run_ranks(HERE / "average_worker.py", 2, folder)
    wanted, got = mean_by_hand(folder, "shared"), weights(folder, "shared-whole")
    assert all(torch.allclose(got[name], wanted[name], atol=1e-5) for name in wanted)
    killed = weights(folder, "shared-killed")
    assert all(torch.equal(value, killed[name]) for name, value in got.items())
    found = json.loads((folder / "2.json").read_text())
    assert losses(found["shared-dev"]) == losses(found["shared-7"]), "which averages nothing"


@pytest.mark.slow
def test_dev_prompts_judge_the_mean_so_far_and_the_training_does_not_notice(
    found: dict[str, dict[str, Any]],
) -> None:
    history, shorter = (found[name]["history"] for name in ("dev", "dev-6"))
    assert losses(found["dev"]) == losses(found["3-whole"])
    assert losses(found["fp32-mean"]) == losses(found["fp32-7"]), "which averages nothing"
    # A training of six steps that averages its last three ends with the weights that are judged at step 6.
    assert history[5]["dev_reward"] == shorter[5]["dev_reward"]
    assert [row["step"] for row in history if "dev_reward" in row] == [3, 6, 7]
    best = found["dev"]["best_step"]
    assert found["dev"]["averaged_steps"] == max(0, best - 3)


@pytest.mark.slow
def test_the_card_names_the_steps(folder: Path, found: dict[str, dict[str, Any]]) -> None:
    card = (Path(found["1-whole"]["policy"]) / "README.md").read_text()
    assert "| weights | averaged over the last 4 of 7 steps |" in card
    assert "averaged" not in (Path(found["fp32-7"]["policy"]) / "README.md").read_text()
    assert found["1-whole"]["averaged_steps"] == 4 and found["fp32-7"]["averaged_steps"] == 0
