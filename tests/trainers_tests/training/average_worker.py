"""One rank of the trainings of test_average: `python average_worker.py RANK WORLD_SIZE STORE FOLDER`.

FOLDER holds the model. What each training ended with goes to `WORLD_SIZE.json`, its policy to `policies/`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TypeAlias

import torch
import torch.distributed as dist
from trial_worker import run

STEADY = {"steps": 7, "schedule": "constant", "warmup_fraction": 0.0}  # a step does not depend on how many
TAIL = {**STEADY, "average_tail": 0.5}
UNBROKEN, BROKEN = (0,), (6, 3, 0)  # killed in step 6 and, having resumed after 4, in step 7


Trainings: TypeAlias = dict[str, tuple[tuple[int, ...], dict[str, Any]]]


def together() -> Trainings:
    """Those of several workers: by name, after how many steps each of its lives ends, and its options."""
    found: Trainings = {
        f"shared-{steps}": (UNBROKEN, {**STEADY, "steps": steps, "zero_stage": 3}) for steps in (4, 5, 6, 7)
    }
    for name, lives in (("whole", UNBROKEN), ("killed", BROKEN)):
        found[f"shared-{name}"] = lives, {**TAIL, "zero_stage": 3}
    found["shared-dev"] = UNBROKEN, {**TAIL, "zero_stage": 3, "evaluate": 3}
    return found


def alone() -> Trainings:
    """Those of one worker."""
    found: Trainings = {}
    for dtype in ("fp32", "bf16"):
        for steps in (4, 5, 6, 7):
            found[f"{dtype}-{steps}"] = UNBROKEN, {**STEADY, "steps": steps, "dtype": dtype}
        found[f"{dtype}-mean"] = UNBROKEN, {**TAIL, "dtype": dtype}
    for stage in range(4):
        for name, lives in (("whole", UNBROKEN), ("killed", BROKEN)):
            found[f"{stage}-{name}"] = lives, {**TAIL, "zero_stage": stage}
    for name, lives in (("whole", UNBROKEN), ("killed", BROKEN)):
        found[f"lora-{name}"] = lives, {**TAIL, "zero_stage": 3, "lora": {"rank": 4}}
    found["dev"] = UNBROKEN, {**TAIL, "zero_stage": 3, "evaluate": 3}
    found["dev-6"] = UNBROKEN, {**TAIL, "zero_stage": 3, "evaluate": 3, "steps": 6}
    return found


def main() -> None:
    rank, world, store, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    found = {
        name: run(folder, name, rank, world, lives, seeds=(0,), **options)[0]
        for name, (lives, options) in (alone() if world == 1 else together()).items()
    }
    if rank == 0:
        (folder / f"{world}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
