"""One rank of the invariance test: trains the same rankings under several engines, prints what it saw.

Run as `python invariance_worker.py OUT.json CASE...`, a case being ALGORITHM/STAGE/TOKENS, with the usual
RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from tiny_models import random_rankings, tiny_llama

from trainers.algorithm_config import AlgorithmConfig
from trainers.algorithms import make_algorithm
from trainers.config import TrainerConfig
from trainers.context import LocalContext
from trainers.engine import build_engine
from trainers.loop import train
from trainers.policy import Policy, with_reference


def losses(algorithm_name: str, stage: int, tokens: int, context: LocalContext) -> list[list[float]]:
    """Loss and gradient norm of each of four steps; the norm is 0 where DeepSpeed keeps none."""
    config = TrainerConfig.model_validate(
        {
            "algorithm": {"name": algorithm_name},
            "steps": 4,
            "batch_prompts": 5,
            "micro_batch_tokens": tokens,
            "learning_rate": 3e-3,
            "dtype": "fp32",
            "zero_stage": stage,
            "schedule": "constant",
        }
    )
    algorithm = make_algorithm(AlgorithmConfig(name=algorithm_name))
    rankings = random_rankings(0, (3, 2, 4, 3, 2, 3, 4))
    policy = Policy(tiny_llama())
    prepared = [ready for ranking in rankings if (ready := algorithm.prepare(ranking))]
    if algorithm.uses_reference:
        prepared = with_reference(policy, prepared, max_tokens=200, device="cpu")
    engine = build_engine(policy.train(), config, config.steps)
    training = train(engine, prepared, algorithm, config, seed=1, context=context)
    engine.destroy()
    return [[row["loss"], row.get("grad_norm", 0.0)] for row in training.history]


def main() -> None:
    torch.set_num_threads(1)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.distributed.init_process_group("gloo")
    context = LocalContext(rank=rank, world_size=world)
    found = {}
    for case in sys.argv[2:]:
        name, stage, tokens = case.split("/")
        mine, norms = zip(*losses(name, int(stage), int(tokens), context), strict=True)
        # Each rank reports the mean over its own share, scaled as its gradient is: by the world size.
        total = torch.tensor(mine, dtype=torch.float64) / world
        torch.distributed.all_reduce(total)
        found[case] = list(zip(total.tolist(), norms, strict=True))
    if rank == 0:
        Path(sys.argv[1]).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
