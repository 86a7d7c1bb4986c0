"""What a resident worker holds after each of N trainings.

    python -m benchmarks.worker_memory [--quick] [--trainings 9] [--steps 2] [--tokens 512] [--dtype fp32]

Trains and judges SmolLM2-135M on the demo pool N times in one process, as a worker does from trial to trial,
and tells resident memory and its peak (GiB) after each. The baseline is the same in another process whose
freed memory stays with the C allocator: `trainers.training.telemetry.release_memory` then only collects
garbage. Rewards must be equal to the digit. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
from typing import Any

from benchmarks._metered import resident_mb

GIB = 1024.0


def trainings(args: argparse.Namespace) -> list[dict[str, float]]:
    """Reward, resident memory and peak of each training, one after another in this process."""
    import torch
    import torch.distributed as dist

    from metrics.config import RewardConfig
    from pools.config import PoolConfig
    from pools.sources import load_pool
    from trainers.config.trainer import CheckpointConfig, EvaluationConfig, ModelConfig, TrainerConfig
    from trainers.spec import TrialJob, TrialSetup
    from trainers.trial import job
    from trainers.workers.local import LocalContext

    torch.set_num_threads(1)
    if args.keep:
        job.release_memory = gc.collect
    setup = TrialSetup(
        model=ModelConfig(prompt_format="plain", max_prompt_tokens=64, max_response_tokens=24),
        trainer=TrainerConfig(
            steps=args.steps, batch_prompts=4, micro_batch_tokens=args.tokens, dtype=args.dtype, zero_stage=1
        ),
        evaluation=EvaluationConfig(max_new_tokens=8, batch_tokens=2048),
        reward=RewardConfig(kind="verifier", function="pools.demo.verifier:score"),
        checkpoints=CheckpointConfig(every=0),
    )
    pool = load_pool(PoolConfig(path="demo", held_out_prompts=8), seed=0)[0]
    os.environ.setdefault("LOCAL_RANK", "0")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
        for seed in range(args.trainings):
            one = TrialJob(setup=setup, responses=4, orders={seed: list(range(seed, seed + 16))})
            result = job.run_trial(one, pool, LocalContext())[0]
            row = {"reward": result.reward, "loss": result.history[-1]["loss"]}
            row |= {"resident": resident_mb("VmRSS") / GIB, "peak": resident_mb("VmHWM") / GIB}
            rows.append(row)
            print(
                seed + 1, {name: round(value, 3) for name, value in row.items()}, file=sys.stderr, flush=True
            )
        dist.destroy_process_group()
    return rows


def apart(options: list[str], *, keep: bool) -> list[dict[str, float]]:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.worker_memory", "--part", *options]
    done = subprocess.run(command + ["--keep"] * keep, check=True, stdout=subprocess.PIPE, text=True)
    rows: list[dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return rows


def summary(ours: list[dict[str, float]], kept: list[dict[str, float]]) -> dict[str, Any]:
    """Resident memory and peak (GiB) of each training, both ways; raises where what was learnt differs."""
    for name in ("reward", "loss"):
        assert [row[name] for row in ours] == [row[name] for row in kept], name
    found = {"released": ours, "kept": kept}
    return {
        f"{name} {what}": [round(row[what], 2) for row in rows]
        for name, rows in found.items()
        for what in ("resident", "peak")
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two trainings of one step")
    parser.add_argument("--trainings", type=int, default=9)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=512, help="of a micro-batch")
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--keep", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--part", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.quick:
        args.trainings, args.steps = 2, 1
    if args.part:
        print(json.dumps(trainings(args)))
        return
    options = [f"--trainings={args.trainings}", f"--steps={args.steps}", f"--tokens={args.tokens}"]
    options.append(f"--dtype={args.dtype}")
    found = summary(apart(options, keep=False), apart(options, keep=True))
    baseline = "freed memory stays with the C allocator"
    print(json.dumps({"benchmark": "worker_memory", "baseline": baseline, **vars(args), **found}))


if __name__ == "__main__":
    main()
