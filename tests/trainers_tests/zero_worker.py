"""One rank of a small training, for test_policy_zero: writes each case's losses and gradient norms as JSON.

python zero_worker.py RANK WORLD_SIZE STORE OUT CASES
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from tiny_models import random_rankings, tiny_llama

from trainers.algorithm_config import AlgorithmConfig
from trainers.algorithms import make_algorithm
from trainers.config import TrainerConfig
from trainers.context import LocalContext
from trainers.engine import build_engine
from trainers.generate import generate
from trainers.loop import train
from trainers.policy import Policy, with_reference


def run(name: str, path: str, stage: int, rank: int, world: int) -> dict[str, object]:
    config = TrainerConfig(
        algorithm=AlgorithmConfig(name=name),  # type: ignore[arg-type]
        steps=3,
        batch_prompts=3,
        micro_batch_tokens=64,
        learning_rate=1e-2,
        warmup_fraction=0.0,
        dtype="fp32",
        zero_stage=stage,  # type: ignore[arg-type]
    )
    torch.manual_seed(0)
    policy = Policy(tiny_llama(), path)  # type: ignore[arg-type]
    rankings = with_reference(policy, random_rankings(3, (3, 2, 4, 3, 2)), max_tokens=100, device="cpu")
    engine = build_engine(policy, config, config.steps)
    context = LocalContext(rank=rank, world_size=world)
    training = train(engine, rankings, make_algorithm(config.algorithm), config, seed=1, context=context)
    answers = generate(policy.model, [[5, 6, 7], [8]], max_new_tokens=4, eos_ids=[2], pad_id=0)
    engine.destroy()
    # Every rank reports the loss of its own rankings; together they are the step's.
    losses = torch.tensor([row["loss"] for row in training.history], dtype=torch.float64)
    dist.all_reduce(losses)
    return {
        "losses": (losses / world).tolist(),
        "norms": [row.get("grad_norm") for row in training.history],
        "answers": answers,
    }


def main() -> None:
    rank, world, store, out = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    cases = json.loads(sys.argv[5])
    results = [run(name, path, stage, rank, world) for name, path, stage in cases]
    if rank == 0:
        out.write_text(json.dumps(results))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
