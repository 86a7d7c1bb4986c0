"""One rank of trials that are killed and go on, for test_checkpoint: writes what each ended with as JSON.

python trial_worker.py RANK WORLD_SIZE STORE FOLDER STAGE...
"""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from support.tiny_trial import KilledError, MortalContext, job, pool, setup

from base.errors import NonRetryableError
from trainers.trial.job import run_trial


def run(
    folder: Path,
    name: str,
    rank: int,
    world: int,
    lives: tuple[int, ...],
    *,
    seeds: tuple[int, ...] = (0, 1),
    **options: Any,
) -> Any:
    """The trial's results, after dying as often as `lives` says."""
    given = job(setup(folder / "model", policies=str(folder / "policies"), **options), seeds, name=name)
    for life in lives:
        # What is left of a killed process must not help the next one.
        torch.manual_seed(life)
        context = MortalContext(rank, world, checkpoints=folder / name, lives=life)
        with contextlib.suppress(KilledError):
            return [asdict(result) for result in run_trial(given, pool(), context)]
    raise AssertionError("the last life has to be 0")


def refusal(folder: Path, rank: int, world: int, **options: Any) -> str:
    """What the trial says when it cannot go on."""
    try:
        run(folder, "refused", rank, world, (0,), seeds=(0,), **options)
    except NonRetryableError as error:
        return str(error)
    raise AssertionError("the trial should have ended")


def main() -> None:
    rank, world, store, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    cases: dict[str, dict[str, Any]] = {stage: {"zero_stage": int(stage)} for stage in sys.argv[5:]}
    cases |= {"bf16": {"dtype": "bf16"}, "lora": {"zero_stage": 3, "lora": {"rank": 4, "dropout": 0.1}}}
    found = {}
    for (case, options), (name, lives) in product(cases.items(), (("whole", (0,)), ("killed", (5, 8, 0)))):
        label = f"{case}-{name}"
        found[label] = run(folder, label, rank, world, lives, evaluate=3, **options)
    found["nan"] = refusal(folder, rank, world, learning_rate=1e30)
    found["reward"] = refusal(folder, rank, world, reward="judge_badly")
    if rank == 0:
        (folder / f"{world}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
