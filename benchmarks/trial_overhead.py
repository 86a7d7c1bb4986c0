"""What a trial costs besides training and judging: `python -m benchmarks.trial_overhead [--quick]`.

All ways run equal trials, one after the other, each in a fresh Ray of two CPUs: a random two-layer model,
one step, one answer.

- `plain` is the recipe of the handbooks: a Tune function that calls `TorchTrainer.fit`, with nothing set.
- `ours` is what a study does (`search.execution.tuning`, `trainers.workers.worker_pool`): one Train job whose
  workers stay for the next trial.
- `alone` is the same with a Train job for each trial, which is what a trial costs after one that failed.

The overhead of a trial is the time from its predecessor's end to its own, less what its own work took; the
first trial is left out. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from search.cluster.connection import start_ray, stop_ray
from search.config.study import StudyConfig
from search.plan.step import Step, Stop, Train
from search.trials.design_point import DesignPoint, Trial

WAYS = ("plain", "alone", "ours")


def work() -> dict[str, float]:
    """A trial's own work, and when it began: everything before is the overhead of starting it."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from trainers.config.trainer import TrainerConfig
    from trainers.training.engine import build_engine

    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
        )
    )
    engine = build_engine(model, TrainerConfig(steps=1, zero_stage=2, dtype="fp32"), 1)
    began = time.perf_counter()
    ids = torch.ones(1, 8, dtype=torch.long)
    engine.backward(engine(ids, labels=ids).loss)
    engine.step()
    return {"worked": time.perf_counter() - began, "ended": time.time()}


def plain(trials: int, storage: str) -> list[dict[str, float]]:
    """Tune and Train with nothing set."""
    import ray
    from ray import tune
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    def trial(config: dict[str, Any]) -> None:
        run = RunConfig(name=f"plain-{config['trial']}", storage_path=storage)
        trainer = TorchTrainer(work, scaling_config=ScalingConfig(num_workers=1), run_config=run)
        found = trainer.fit().return_value
        tune.report({**found, "ended": time.time()})

    ray.init(num_cpus=2, log_to_driver=False, logging_level="ERROR")
    results = tune.Tuner(
        tune.with_resources(trial, {"CPU": 0.01}),
        param_space={"trial": tune.grid_search(list(range(trials)))},
        tune_config=tune.TuneConfig(max_concurrent_trials=1),
        run_config=tune.RunConfig(storage_path=storage, verbose=0),
    ).fit()
    return [result.metrics for result in results if result.metrics]


class Conductor:
    """Asks for so many trials and keeps what they say (`search.execution.tuning.Conductor`)."""

    def __init__(self, trials: int) -> None:
        self._left = trials
        self.found: list[dict[str, float]] = []

    def next(self) -> Step:
        if not self._left:
            return Stop("enough", True)
        self._left -= 1
        return Train(Trial(DesignPoint(prompts=self._left + 1, responses=2), (0,)), "the next one")

    def started(self, trial: Trial) -> None:
        """Nothing to do."""

    def finished(self, outcome: Any) -> None:
        self.found.append(outcome)

    def failed(self, trial: Trial, reason: str) -> None:
        raise RuntimeError(reason)


def alone(trials: int, storage: str) -> list[dict[str, float]]:
    """As a study does it, with workers of its own for each trial."""
    return study(trials, storage, stay=False)


def ours(trials: int, storage: str) -> list[dict[str, float]]:
    """As a study does it."""
    return study(trials, storage, stay=True)


def study(trials: int, storage: str, *, stay: bool) -> list[dict[str, float]]:
    """A study's way, with the work of a trial in place of a training; do its workers `stay`?"""
    config = StudyConfig.model_validate({"budget": 8, "pool": {}, "cluster": {"address": "local"}})
    start_ray(config.cluster, Path(storage) / "ray.log")
    from search.execution.tuning import run_trials

    conductor = Conductor(trials)
    from benchmarks.trial_overhead import done  # by its name: Tune's process keeps what that module keeps

    trial = partial(done, resources=config.resources, storage=storage, stay=stay)
    run_trials(trial, conductor, concurrent=1, storage=storage, max_failures=0)
    stop_ray()
    return conductor.found


_kept: list[Any] = []  # the workers of this process, as in `search.execution.trial`


def done(trial: Trial, resources: Any, storage: str, stay: bool) -> dict[str, float]:
    """What `trial` found, and when it ended."""
    from trainers.workers.worker_pool import WorkerPool

    workers = _kept.pop() if _kept else WorkerPool(resources, storage=storage)
    name = f"ours-{trial.point.prompts}"
    found: dict[str, float] = workers.run(lambda context: work(), name=name, label=trial.label)
    if stay:
        _kept.append(workers)
    else:
        workers.close()
    return {**found, "ended": time.time()}


def overheads(rows: list[dict[str, float]]) -> list[float]:
    """Seconds of each trial but the first that are not its own work."""
    ordered = sorted(rows, key=lambda row: row["ended"])
    pairs = zip(ordered, ordered[1:], strict=False)
    return [row["ended"] - before["ended"] - row["worked"] for before, row in pairs]


def measured(way: str, trials: int) -> list[float]:
    """The overheads of one way, in a process of its own: Ray keeps what it read from the environment."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.trial_overhead", "--way", way, "--trials", str(trials)],
        check=True,
        capture_output=True,
        text=True,
    )
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Run all ways in turn and print their figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one round of three trials, not two of five")
    parser.add_argument("--trials", type=int, default=5, help=argparse.SUPPRESS)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.way:
        with tempfile.TemporaryDirectory() as storage:
            print(json.dumps(overheads(globals()[args.way](args.trials, storage))))
        return
    rounds, trials = (1, 3) if args.quick else (2, 5)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            seconds[way] += measured(way, trials)
            print(f"{way}: {', '.join(f'{s:.2f}' for s in seconds[way])} s a trial", flush=True)
    figures = {f"{way}_s": median(values) for way, values in seconds.items()}
    ratios = {f"plain_over_{way}": figures["plain_s"] / figures[f"{way}_s"] for way in WAYS[1:]}
    print(json.dumps({"benchmark": "trial_overhead", "baseline": "plain", **ratios, **figures}))


if __name__ == "__main__":
    main()
