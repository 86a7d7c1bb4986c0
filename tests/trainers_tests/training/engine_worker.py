"""The trainings of test_engine_matrix, in processes that share one start: `python engine_worker.py FOLDER`.

FOLDER holds the model, and `cases.json` with two lists: the cases of one worker, which two processes share
out, and those that two workers train together. Results, by their place in the list, go to `alone-0.json`,
`alone-1.json` and `together.json`; a whole trial's result goes to `trial.json`.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from support import flex_on_cpu
from support.tiny_models import random_rankings
from support.tiny_trial import job, pool, save_model, setup

from trainers.algorithms.registry import make_algorithm
from trainers.config.trainer import TrainerConfig
from trainers.generation.generate import generate
from trainers.models import load_policy
from trainers.policy.policy import Policy, with_reference
from trainers.training.engine import build_engine, import_deepspeed
from trainers.training.loop import train
from trainers.training.schedule import total_steps
from trainers.trial.job import run_trial
from trainers.workers.local import LocalContext


def run(case: dict[str, Any], folder: Path, rank: int, world: int) -> dict[str, Any]:
    """Losses and gradient norms of the steps of one training, and answers from inside the trained engine."""
    config = TrainerConfig.model_validate(case["trainer"])
    torch.manual_seed(0)
    model = load_policy(
        str(folder / "model"),
        dtype=config.dtype,
        gradient_checkpointing=config.activation_checkpointing,
        lora=config.lora,
    )
    policy = Policy(model.train(), case["path"])
    assert policy.path == case["path"], policy.reason
    algorithm = make_algorithm(config.algorithm)
    rankings = [
        ready for ranking in random_rankings(3, (3, 2, 4, 3, 2)) if (ready := algorithm.prepare(ranking))
    ]
    if algorithm.uses_reference:
        rankings = with_reference(policy, rankings, max_tokens=100, device="cpu")
    engine = build_engine(policy, config, total_steps(config, rankings))
    context = LocalContext(rank=rank, world_size=world)
    training = train(engine, rankings, algorithm, config, seed=1, context=context)
    answers = generate(model, [[5, 6, 7], [8]], max_new_tokens=3, eos_ids=[2], pad_id=0)
    engine.destroy()
    return {
        "losses": [row["loss"] for row in training.history],
        "norms": [row.get("grad_norm") for row in training.history],
        "answers": answers,
        "trained": sum(parameter.requires_grad for parameter in policy.parameters()),
    }


def work(cases: dict[int, dict[str, Any]], folder: Path, rank: int, world: int, name: str) -> None:
    """Train `cases` as one of `world` workers, in a fresh fork: DeepSpeed knows one world in a process."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/{name}.store", rank=rank, world_size=world)
    results = {number: run(case, folder, rank, world) for number, case in cases.items()}
    if rank == 0:
        (folder / f"{name}.json").write_text(json.dumps(results))
    dist.destroy_process_group()


def whole_trial(folder: Path) -> None:
    """One trial through the job itself, with more of what a configuration can ask for."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/trial.store", rank=0, world_size=1)
    given = setup(
        save_model(folder / "trial-model"),
        every=0,
        policies=str(folder / "policies"),
        matching="tokens",
        tokens=900,
        lora={"rank": 2},
        activation_checkpointing=True,
        deepspeed={"zero_optimization": {"reduce_bucket_size": 10_000}},
    )
    evaluation = given.evaluation.model_copy(update={"stop": ("e", "a"), "max_new_tokens": 8})
    short = given.model.model_copy(update={"max_response_tokens": 6})
    work = job(replace(given, evaluation=evaluation, model=short), (0,), name="trial")
    (result,) = run_trial(work, pool(), LocalContext())
    (folder / "trial.json").write_text(json.dumps(asdict(result)))
    dist.destroy_process_group()


def main() -> None:
    folder = Path(sys.argv[1])
    torch.set_num_threads(1)
    flex_on_cpu.allow()
    import_deepspeed()
    gc.freeze()  # ZeRO-3 collects garbage at each start, which takes a second over all that is imported
    alone, together = json.loads((folder / "cases.json").read_text())
    halves = [dict(list(enumerate(alone))[part::2]) for part in range(2)]
    fork = multiprocessing.get_context("fork")
    rounds = [
        [(halves[part], folder, 0, 1, f"alone-{part}") for part in range(2)],
        [(dict(enumerate(together)), folder, rank, 2, "together") for rank in range(2)],
    ]
    for jobs in rounds:
        processes = [fork.Process(target=work, args=each) for each in jobs]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert all(process.exitcode == 0 for process in processes)
    whole_trial(folder)


if __name__ == "__main__":
    main()
