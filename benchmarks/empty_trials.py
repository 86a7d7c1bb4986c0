"""What trials cost a cluster's head before they train anything, and what 1,000 at a time would need.

    python -m benchmarks.empty_trials [--quick] [--trials 48] [--jobs 4]

A cluster of one head (no CPUs, as `cluster.yaml` declares it) and two worker nodes runs on this machine
(`ray.cluster_utils.Cluster`). Three loads are put on it, one after another:

- `trials`: Tune trials placed as ours are, all running at a time. Each fetches a pool from the object store,
  holds one CPU of a worker node by a task that does nothing, and ends when all have begun.
- `jobs`: the same with the whole of Ray Train in each (`trainers.ray_job.WorkerPool`) around no work.
- `waiting`: placement groups that no node can hold, as trials that wait for machines leave them.

Counted are CPU seconds and memory (unique set size: what a process has for itself) by kind of process. Memory
at 1,000 trials is extrapolated: that of the head without any, and 1,000 times what one more has cost. The
baseline is the head with no trial on it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil

MARK = "APPORTION_BENCHMARK"
WORKER_CPUS = 600
HOLD_S = 8.0
KINDS = {
    "gcs_server": "gcs",
    "raylet": "raylets",
    "ray::ImplicitFunc": "trials",
    "ray::TrainController": "controllers",
    "ray::Mailbox": "mailboxes",
}


@dataclass
class Sample:
    """The cluster at one moment: trials running, and seconds and MiB by kind of process."""

    running: int
    at: float
    cpu: Counter[str]
    memory: Counter[str]


class Meter:
    """Counts the processes that carry the benchmark's mark; what the ended ones have spent stays counted."""

    def __init__(self, mark: str) -> None:
        self._mark, self._begun = mark, time.monotonic()
        self._others: set[tuple[int, float]] = set()
        self._spent: dict[tuple[int, float], tuple[str, float]] = {}

    def sample(self) -> Sample:
        """Count now."""
        memory: Counter[str] = Counter()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                name = (process.pid, process.create_time())
                if name not in self._others and self._is_ours(process):
                    kind, times = kind_of(process), process.cpu_times()
                    kind = self._spent[name][0] if kind == "other" and name in self._spent else kind
                    self._spent[name] = (kind, times.user + times.system)
                    memory[kind] += process.memory_full_info().uss / 2**20
                    memory[f"number of {kind}"] += 1
                else:
                    self._others.add(name)
        cpu: Counter[str] = Counter()
        for kind, seconds in self._spent.values():
            cpu[kind] += seconds
        return Sample(memory["number of trials"], time.monotonic() - self._begun, cpu, memory)

    def _is_ours(self, process: psutil.Process) -> bool:
        return process.pid == os.getpid() or process.environ().get(MARK) == self._mark


def kind_of(process: psutil.Process) -> str:
    words = process.cmdline()
    if process.pid == os.getpid():
        return "driver"
    name = os.path.basename(words[0]) if words else process.name()
    return next((kind for start, kind in KINDS.items() if name.startswith(start)), "other")


@contextlib.contextmanager
def cluster(mark: str) -> Iterator[None]:
    """A head and two worker nodes on this machine, joined."""
    os.environ |= {MARK: mark, "RAY_worker_maximum_startup_concurrency": "8", "RAY_AUTH_MODE": "disabled"}
    os.environ |= {"TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2"}
    import ray
    from ray.cluster_utils import Cluster

    store = {"object_store_memory": 200 * 2**20}
    # The dashboard is on, as in a study: stopped trials are freed through it.
    own = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": True, **store})
    for _ in range(2):
        own.add_node(num_cpus=WORKER_CPUS, **store)
    ray.init(address=own.address, log_to_driver=False, logging_level="ERROR")
    try:
        yield
    finally:
        ray.shutdown()
        own.shutdown()


class Gate:
    """Opens some seconds after everybody has come; an actor."""

    def __init__(self, expected: int) -> None:
        self._left, self._complete = expected, 0.0

    def come(self) -> None:
        self._left -= 1
        self._complete = time.monotonic()

    def is_open(self) -> bool:
        return self._left <= 0 and time.monotonic() - self._complete > HOLD_S


def run_trials(count: int, gate: Any, pool: Any, *, whole_jobs: bool, folder: str) -> None:
    """Run `count` trials at a time; each ends when all have begun."""
    from ray import tune

    from search.cluster.connection import ON_HEAD

    tune.Tuner(
        tune.with_resources(
            tune.with_parameters(_trial, gate=gate, pool=pool, folder=folder, job=whole_jobs), ON_HEAD
        ),
        param_space={"number": tune.grid_search(list(range(count)))},
        tune_config=tune.TuneConfig(max_concurrent_trials=count),
        run_config=tune.RunConfig(name="tune", storage_path=folder, verbose=0),
    ).fit()


def _trial(config: dict[str, Any], gate: Any, pool: Any, folder: str, job: bool) -> None:
    import ray
    from ray import tune
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    def work(context: Any = None) -> int:
        content = len(ray.get(pool["pool"]))
        ray.get(gate.come.remote())
        while not ray.get(gate.is_open.remote()):
            time.sleep(0.5)
        return content

    if job:
        from trainers.config.trainer import ResourcesConfig
        from trainers.workers.worker_pool import WorkerPool

        with contextlib.closing(WorkerPool(ResourcesConfig(), storage=folder)) as workers:
            workers.run(work, name=f"job-{config['number']}", label="")
    else:
        anywhere = PlacementGroupSchedulingStrategy(placement_group=None)  # not within the trial's own group
        ray.get(ray.remote(num_cpus=1, scheduling_strategy=anywhere)(work).remote())
    tune.report({"done": 1})


def measured(meter: Meter, count: int, *, whole_jobs: bool) -> list[Sample]:
    """Samples taken every two seconds, the first before any trial, while `count` trials come and go."""
    import threading

    import ray

    gate = ray.remote(num_cpus=0)(Gate).remote(count)
    pool = {"pool": ray.put(np.zeros(50 * 2**20, dtype=np.uint8))}
    taken, stop = [meter.sample()], threading.Event()

    def watch() -> None:
        while not stop.wait(2):
            taken.append(meter.sample())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            run_trials(count, gate, pool, whole_jobs=whole_jobs, folder=folder)
    finally:
        stop.set()
        watcher.join()
    return [*taken, meter.sample()]


def summary(taken: list[Sample], count: int) -> dict[str, float]:
    """Seconds and MiB a trial, and MiB on the head at 1,000 of them."""
    first, last = taken[0], taken[-1]
    on_head = ("gcs", "trials", "controllers", "mailboxes", "driver")

    def head(one: Sample) -> float:
        return sum(one.memory[kind] for kind in on_head)

    fullest = max(taken, key=head)
    each = (head(fullest) - head(first)) / max(fullest.running, 1)
    figures = {
        "trials": count,
        "at_a_time": fullest.running,
        "seconds": round(last.at - first.at, 1),
        "head_mib_without": round(head(first)),
        "head_mib_with": round(head(fullest)),
        "head_mib_per_trial": round(each, 1),
        "head_gib_at_1000": round((head(first) + 1000 * each) / 1024, 1),
    }
    for kind in (*on_head, "raylets", "other"):
        figures[f"cpu_s_per_trial_{kind}"] = round((last.cpu[kind] - first.cpu[kind]) / count, 3)
    return figures


def waiting(meter: Meter, count: int) -> dict[str, float]:
    """What `count` placement groups that cannot be placed cost the head, in five seconds of waiting."""
    import ray
    from ray.util import placement_group, remove_placement_group

    before, begun = meter.sample(), time.monotonic()
    groups = [placement_group([{"GPU": 1}]) for _ in range(count)]
    ray.wait([group.ready() for group in groups[:1]], timeout=0)
    asked = time.monotonic() - begun
    time.sleep(5)
    after = meter.sample()
    for group in groups:
        remove_placement_group(group)
    spent = after.cpu["gcs"] - before.cpu["gcs"]
    return {
        "waiting": count,
        "seconds_to_ask": round(asked, 2),
        "gcs_cpu_share": round(spent / (asked + 5), 3),
        "gcs_mib_more": round(after.memory["gcs"] - before.memory["gcs"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=48, help="empty trials at a time")
    parser.add_argument("--jobs", type=int, default=4, help="empty Ray Train jobs at a time")
    parser.add_argument("--waiting", type=int, default=1000, help="placement groups that wait at a time")
    parser.add_argument("--quick", action="store_true", help="8 trials, 1 job, 100 waiting")
    args = parser.parse_args()
    sizes = (8, 1, 100) if args.quick else (args.trials, args.jobs, args.waiting)
    mark = f"{os.getpid()}-{time.time():.0f}"
    with cluster(mark):
        meter = Meter(mark)
        figures = {
            "trials": summary(measured(meter, sizes[0], whole_jobs=False), sizes[0]),
            "jobs": summary(measured(meter, sizes[1], whole_jobs=True), sizes[1]),
            "waiting": waiting(meter, sizes[2]),
        }
    for name, found in figures.items():
        print(name, json.dumps(found, indent=1))
    print(json.dumps({"benchmark": "empty_trials", "baseline": "the head with no trial on it", **figures}))


if __name__ == "__main__":
    main()
