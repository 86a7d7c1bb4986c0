"""A trial that is killed goes on as if nothing had happened; one that cannot be kept loses nothing else."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem
from tiny_trial import pool, save_model, setup
from transformers import AutoModelForCausalLM, AutoTokenizer

from base.errors import CheckpointError
from metrics.reward.verifier import VerifierReward
from trainers.config.trainer import CheckpointConfig
from trainers.spec import SeedResult
from trainers.training.checkpoint import Keeper, save_engine
from trainers.trial.evaluate import judge
from trainers.workers.local import LocalContext
from trainers.workers.store import LIST, Checkpoints, discard, keep_local, keep_remote

HERE = Path(__file__).parent
TIMED = ("seconds", "train_seconds", "tokens_per_second", "peak_memory_gib", "policy")


def trials(folder: Path, world: int, stages: tuple[int, ...]) -> dict[str, list[dict[str, Any]]]:
    """What `trial_worker` found with `world` processes."""
    save_model(folder / "model")
    shared = {**os.environ, "PYTHONPATH": f"{HERE.parent.parent}{os.pathsep}{HERE}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "trial_worker.py")]
    processes = [
        subprocess.Popen(
            [*command, str(rank), str(world), str(folder / "store"), str(folder), *map(str, stages)],
            env={**shared, "LOCAL_RANK": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(world)
    ]
    said = [process.communicate(timeout=540)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(text[-3000:] for text in said)
    found: dict[str, list[dict[str, Any]]] = json.loads((folder / f"{world}.json").read_text())
    return found


def untimed(value: Any) -> Any:
    """A result without what a clock or a memory gauge said."""
    if isinstance(value, dict):
        return {name: untimed(part) for name, part in value.items() if not name.startswith(TIMED)}
    return [untimed(part) for part in value] if isinstance(value, list) else value


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
        VerifierReward("tiny_trial:judge_length"),
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


def full(folder: Path) -> None:
    (folder / "half").write_text("half")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_leaves_the_checkpoint_before_and_no_rest(tmp_path: Path) -> None:
    context = LocalContext(checkpoints=tmp_path / "kept")
    context.save("step1", lambda folder: (folder / "a").write_text("1") and None)
    with pytest.raises(CheckpointError, match=r"No space left on device \([\d,]+ MiB are free in "):
        context.save("step2", full)
    assert {path.name for path in (tmp_path / "kept").iterdir()} == {"step1", LIST}
    with context.restored() as folder:
        assert folder is not None and (folder / "a").read_text() == "1"


def test_a_checkpoint_replaces_one_of_a_run_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "step1").mkdir()
    (tmp_path / "step1" / "old").touch()
    (tmp_path / ".step1.partial").mkdir()
    keep_local(tmp_path / "step1", lambda folder: (folder / "new").touch(), LocalContext())
    assert [path.name for path in tmp_path.rglob("*")] == ["step1", "new"]


def test_an_object_store_is_given_every_workers_files(tmp_path: Path) -> None:
    store = SubTreeFileSystem(str(tmp_path), LocalFileSystem())  # what is not local is copied to

    def write(folder: Path) -> None:
        (folder / "engine").mkdir()
        (folder / "engine" / "shard0").write_text("weights")
        (folder / "trial.json").write_text("{}")

    assert keep_remote(store, "study/trial-a/step1", write, LocalContext()) == "study/trial-a/step1"
    found = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"study/trial-a/step1/engine/shard0", "study/trial-a/step1/trial.json"}
    with pytest.raises(CheckpointError, match="No space left"):
        keep_remote(store, "study/trial-a/step2", full, LocalContext())


def test_a_keeper_says_once_that_it_cannot_keep_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    keeper = Keeper(CheckpointConfig(every=1), LocalContext(checkpoints=tmp_path / "file"))
    for seed in (0, 1):
        keeper.after_step(seed, None, None, None, last=True)  # type: ignore[arg-type]
        keeper.finished(SeedResult(seed=seed, reward=0.5, rewards=(0.5,), answers=("",)), more=True)
    assert len(keeper.results) == 2 and keeper.last is None
    assert keeper.trouble is not None and "Not a directory" in keeper.trouble
    assert len(caplog.records) == 1


def test_finished_seeds_are_kept_when_the_number_of_workers_changes(tmp_path: Path) -> None:
    config = CheckpointConfig(every=1)
    keeper = Keeper(config, LocalContext(checkpoints=tmp_path))
    result = SeedResult(seed=3, reward=0.5, rewards=(0.25, 0.75), answers=("é", ""), history=[{"step": 1.0}])
    keeper.after_step(3, None, None, None, last=True)  # type: ignore[arg-type]
    keeper.finished(result, more=True)
    again = Keeper(config, LocalContext(world_size=2, checkpoints=tmp_path))
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


def test_what_a_run_left_is_discarded_and_nothing_else(tmp_path: Path) -> None:
    for name in ("trial-a", "trial-b"):
        (tmp_path / name / "step1").mkdir(parents=True)
    discard(str(tmp_path), "trial-a")
    discard(str(tmp_path), "trial-a")
    assert [path.name for path in tmp_path.iterdir()] == ["trial-b"]


@pytest.mark.parametrize("left", ["cut off", "without its checkpoint", "whole", "nothing"])
def test_a_run_whose_list_cannot_be_trusted_starts_again(tmp_path: Path, left: str) -> None:
    run = tmp_path / "trial-a"
    (run / ("step2" if left == "without its checkpoint" else "step1")).mkdir(parents=True)
    if left != "nothing":
        (run / LIST).write_text('["st' if left == "cut off" else '["step1"]')
    with Checkpoints(str(tmp_path), "trial-a").newest() as folder:
        assert folder == (run / "step1" if left == "whole" else None)


@pytest.mark.parametrize("store", ["local", "remote"])
def test_the_last_checkpoints_are_kept_and_the_newest_found(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(folder: Path) -> None:
        (folder / "a").write_text("new")

    kept = Checkpoints(str(tmp_path), "trial-a", keep=2)
    if store == "remote":
        monkeypatch.setattr(kept, "_filesystem", SubTreeFileSystem(str(tmp_path), LocalFileSystem()))
        monkeypatch.setattr(kept, "_folder", "trial-a")
    for name in ("step1", "step2", "step3"):
        kept.save(name, write, LocalContext())
    with pytest.raises(CheckpointError, match="No space left"):
        kept.save("step4", full, LocalContext())
    assert {path.name for path in (tmp_path / "trial-a").iterdir()} == {"step2", "step3", LIST}
    with kept.newest() as folder:
        assert folder is not None and (folder / "a").read_text() == "new"
        assert (folder == tmp_path / "trial-a" / "step3") == (store == "local")
