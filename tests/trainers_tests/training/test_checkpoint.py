"""A trial that is killed goes on as if nothing had happened; one that cannot be kept loses nothing else."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.ranks import run_ranks
from support.tiny_trial import pool, save_model, setup, untimed
from transformers import AutoModelForCausalLM, AutoTokenizer

from metrics.reward.verifier import VerifierReward
from trainers.config.trainer import CheckpointConfig
from trainers.spec import SeedResult
from trainers.training.checkpoint import Checkpointer, save_engine
from trainers.trial.evaluate import judge
from trainers.workers.local import LocalContext

HERE = Path(__file__).parent


def trials(folder: Path, world: int, stages: tuple[int, ...]) -> dict[str, list[dict[str, Any]]]:
    """What `trial_worker` found with `world` processes."""
    save_model(folder / "model")
    run_ranks(HERE / "trial_worker.py", world, folder, *stages)
    found: dict[str, list[dict[str, Any]]] = json.loads((folder / f"{world}.json").read_text())
    return found


def assert_unbroken(found: dict[str, list[dict[str, Any]]], stage: int | str) -> None:
    whole, killed = found[f"{stage}-whole"], found[f"{stage}-killed"]
    assert untimed(killed) == untimed(whole)
    for result in whole:
        steps = [row["step"] for row in result["history"]]
        assert steps == [1, 2, 3, 4, 5, 6, 7]
        assert [row["step"] for row in result["history"] if "dev_reward" in row] == [3, 6, 7]
        best = max(row["dev_reward"] for row in result["history"] if "dev_reward" in row)
        assert result["dev_reward"] == best
        assert len({row["loss"] for row in result["history"]}) > 3
        assert len(result["rewards"]) == 6


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    return trials(tmp_path_factory.mktemp("together"), 2, (0, 1, 2, 3))


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3, "bf16"])
def test_a_killed_trial_ends_as_an_unbroken_one(together: dict[str, Any], stage: int | str) -> None:
    assert_unbroken(together, stage)


@pytest.mark.slow
def test_adapters_with_dropout_go_on_too(together: dict[str, Any]) -> None:
    """Dropout makes the random states matter; what is frozen is not in the checkpoint."""
    assert untimed(together["lora-killed"]) == untimed(together["lora-whole"])
    first, *_, last = together["lora-whole"][0]["history"]
    assert last["loss"] < first["loss"] - 5


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 2, 3])
def test_the_saved_policy_is_the_one_that_was_judged(together: dict[str, Any], stage: int) -> None:
    result = together[f"{stage}-whole"][1]
    folder = Path(result["policy"])
    given = setup(folder)
    judged = judge(
        AutoModelForCausalLM.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
        [example.prompt for example in pool().held_out],
        VerifierReward("support.tiny_trial:judge_length"),
        model_config=given.model,
        config=given.evaluation,
        context=LocalContext(),
        sharded=False,
    )
    assert list(judged.answers) == result["answers"]
    assert list(judged.rewards) == result["rewards"]
    assert result["best_step"] == 3  # not the last policy
    card = (folder / "README.md").read_text()
    assert f"| reward | {result['reward']:.4f} ± " in card and "not people's" in card


@pytest.mark.slow
def test_all_workers_end_together_and_say_why(together: dict[str, Any]) -> None:
    words = r"seed 0: (loss|norm of the gradient) is (nan|inf) at step [12] of 7, on the prompts \w{12}, "
    assert re.match(words, together["nan"]) and together["nan"].endswith("last checkpoint: none")
    words = r"seed 0: score 0 is nan; scores must be finite and in \[0, 1\]; last checkpoint: .*step00000006"
    assert re.fullmatch(words, together["reward"])


@pytest.mark.slow
def test_shards_choose_the_same_step_and_count_all_workers_tokens(together: dict[str, Any]) -> None:
    trials = [together[f"{stage}-whole"] for stage in range(4)]
    assert len({tuple(result["best_step"] for result in found) for found in trials}) == 1
    assert len({tuple(result["trained_tokens"] for result in found) for found in trials}) == 1


def test_a_checkpointer_logs_once_that_it_cannot_write_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    checkpointer = Checkpointer(CheckpointConfig(every=1), LocalContext(checkpoints=tmp_path / "file"))
    for seed in (0, 1):
        checkpointer.after_step(seed, None, None, None, None, last=True)  # type: ignore[arg-type]
        checkpointer.add_result(SeedResult(seed=seed, reward=0.5, rewards=(0.5,), answers=("",)), more=True)
    assert len(checkpointer.results) == 2 and checkpointer.last is None
    assert checkpointer.error is not None and "Not a directory" in checkpointer.error
    assert len(caplog.records) == 1


def test_finished_seeds_are_kept_when_the_number_of_workers_changes(tmp_path: Path) -> None:
    config = CheckpointConfig(every=500)  # more steps than the training has
    checkpointer = Checkpointer(config, LocalContext(checkpoints=tmp_path))
    result = SeedResult(seed=3, reward=0.5, rewards=(0.25, 0.75), answers=("é", ""), history=[{"step": 1.0}])
    checkpointer.after_step(3, None, None, None, None, last=True)  # type: ignore[arg-type]
    checkpointer.add_result(result, more=True)
    again = Checkpointer(config, LocalContext(world_size=2, checkpoints=tmp_path))
    assert again.results == [result]
    assert again.last == str(tmp_path / "step00000001")


def test_deepspeeds_barrier_is_reached_before_a_disk_error_is_raised() -> None:
    passed: list[str] = []

    def save(state: Any, path: str) -> None:
        raise OSError(errno.ENOSPC, "full")

    files = SimpleNamespace(save=save)

    def save_checkpoint(folder: str, **options: Any) -> None:
        files.save({}, folder)
        passed.append("barrier")

    engine = SimpleNamespace(
        module=torch.nn.Linear(1, 1),
        checkpoint_engine=files,
        save_checkpoint=save_checkpoint,
        _copy_recovery_script=lambda path: None,
    )
    with pytest.raises(OSError, match="full"):
        save_engine(engine, Path("anywhere"))
    assert passed == ["barrier"]
