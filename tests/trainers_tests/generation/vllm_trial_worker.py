"""One rank of trials judged by vLLM and by our own generation, for test_vllm_engine: run where vLLM is.

python vllm_trial_worker.py RANK WORLD_SIZE FOLDER
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from support.tiny_trial import job, pool, setup

from trainers.trial.job import run_trial
from trainers.workers.local import LocalContext


def result(folder: Path, rank: int, world: int, engine: str, **options: Any) -> dict[str, Any]:
    given = setup(folder / "model", every=0, evaluate=3, **options)
    evaluation = given.evaluation.model_copy(update={"engine": engine, "max_new_tokens": 12})
    trial = job(replace(given, evaluation=evaluation), seeds=(0,))
    (found,) = run_trial(trial, pool(), LocalContext(rank, world))
    return asdict(found)


def main() -> None:
    rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
    cases: dict[str, dict[str, Any]] = {"whole": {"zero_stage": 2}, "adapters": {"lora": {"rank": 4}}}
    found = {
        case: {engine: result(folder, rank, world, engine, **options) for engine in ("own", "vllm")}
        for case, options in cases.items()
    }
    if rank == 0:
        (folder / "found.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
