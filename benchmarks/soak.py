"""One study under a hundred faults, and what is left of it: nothing lost, nothing twice, nothing left behind.

    python -m benchmarks.soak [--quick] [--faults 100] [--minutes 30] [--seed 0]

A random two-layer model is trained on every point of a grid of splits, by `search/run.py` as a user runs it,
with an MLflow server and one trial at a time. First undisturbed; then the same command again, in a folder
that lies on a small file system of its own, while at random, seeded moments of about half an hour one of
these happens (of a hundred faults about so many):

- 7 the study's process is killed, 6 its raylet, 7 Ctrl-C (to its whole process group, once or twice);
- 10 the trial's process (Tune's actor) is killed, 12 its train worker;
- 10 the MLflow server is killed and comes back within 15 s, 10 it is paused for as long, 10 its database is
  locked for as long by another writer, and 10 Optuna's for up to 30 s (the study waits for 20 s);
- 8 the file system is full for up to 10 s (left out, and said, where none may be mounted);
- 10 the clock is set back, by a second to an hour: `time.time` of every Python process of the study, by a
  `sitecustomize` on its PYTHONPATH. The clock of the machine, of files and of Ray's servers in C++ stays.

Whenever the study's process, or the server, is gone the same command is started again. Of the faults left the
first that is possible comes next: those that need a process come where that is there. They come so close that
they are over shortly before the study would be; what is then left is finished undisturbed.

Compared is everything that does not measure time: each trial's rewards, answers, losses and tokens to the
last digit, `trials.csv` and the recommendation. Every trial is there once, as finished, in `trials/`,
`attempts/`, MLflow and Optuna's history, and nothing else is. After 90 s no process is left, no file in the
folder that the undisturbed study does not have (but MLflow's log, which says what failed), no new name in
/dev/shm. Nor did the study end by itself, or show no sign for four minutes. Work done twice: optimiser steps
of all attempts, as DeepSpeed's CSV monitor counts them outside the folder, over those of the undisturbed
study (the baseline). Exit status 1 where a check has failed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks._faults import CLOCK, FAULTS, STILL_S, Scene, Server, Study, sequence, small_disk
from benchmarks._soaked import failed_checks

ROOT = Path(__file__).resolve().parent.parent
SHM = Path("/dev/shm")
# Two processes of Ray try for a minute to reach a store of state, dead as well, after their raylet's death.
LINGER_S = 90.0
# The share of the trials by which all faults should have come.
NEARLY = 0.9
# The least that lies between two faults on the average (s).
CLOSEST_S = 3.0
DISK_SIZE = "128m"
REWARD = '''"""Any other answer has another reward."""

import zlib


def score(prompt, response):
    return zlib.crc32(f"{prompt.text} {response}".encode()) / 2**32
'''


@dataclass(frozen=True)
class Size:
    """A study's grid and the length of its trainings."""

    responses: tuple[int, ...]
    fractions: int
    steps: int


QUICK, WHOLE = Size((2, 4), 2, 40), Size((2, 3, 4, 6, 8), 6, 100)


def prepare(root: Path) -> None:
    """Write the model, the reward and the clock that the study uses."""
    from tests.support.tiny_models import byte_tokenizer, tiny_llama

    root.mkdir(exist_ok=True)
    for name in ("server.db", "soak.log", "steps", "kept"):
        shutil.rmtree(root / name) if (root / name).is_dir() else (root / name).unlink(missing_ok=True)
    tiny_llama(vocab_size=300, max_position_embeddings=512).save_pretrained(root / "model")
    byte_tokenizer(chat=True).save_pretrained(root / "model")
    (root / "modules").mkdir(exist_ok=True)
    (root / "modules" / "any_answer.py").write_text(REWARD)
    (root / "modules" / "sitecustomize.py").write_text(CLOCK)


def configuration(root: Path, size: Size, server: Server, seed: int) -> dict[str, Any]:
    """The study's."""
    return {
        "name": "soak",
        "seed": seed,
        "budget": 352,
        "pool": {"path": "demo", "held_out_prompts": 8},
        "model": {"name": str(root / "model"), "max_prompt_tokens": 64, "max_response_tokens": 24},
        "trainer": {
            "algorithm": {"name": "pro"},
            "steps": size.steps,
            "learning_rate": 0.003,  # so much that a short training changes what a random model answers
            "batch_prompts": 4,
            "micro_batch_tokens": 512,
            "dtype": "fp32",
            "deepspeed": {"csv_monitor": {"enabled": True, "output_path": str(root), "job_name": "steps"}},
        },
        "evaluation": {"max_new_tokens": 8},
        "reward": {"function": "any_answer:score"},
        "checkpoints": {"every": 20},
        "search": {
            "plan": "grid",
            "responses": list(size.responses),
            "budget_fractions": [(i + 1) / size.fractions for i in range(size.fractions)],
            "trials": 1000,
            "seeds": 2,
            "max_concurrent": 1,
        },
        "resources": {"max_failures": 1000},
        "cluster": {"address": "local"},
        "tracking": {"uri": server.uri, "log_system_metrics": False},
    }


def study(root: Path, name: str, folder: Path) -> Study:
    """The study in `folder`, called `name` by its log and its MLflow experiment."""
    (root / "clock").write_text("0")
    command = [sys.executable, str(ROOT / "search" / "run.py"), "--config", str(root / "study.yaml")]
    command += ["--output-dir", str(folder), "--tracking.experiment", name]
    paths = [str(root / "modules"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    own = {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "SOAK_CLOCK": str(root / "clock"),
        "RAY_TMPDIR": str(root),
        "OMP_NUM_THREADS": "1",
        "RAY_worker_niceness": "0",  # Ray's workers give way to all else otherwise, and hardly get on
    }
    steps = root / "steps" / "Train_Samples_lr.csv"
    return Study(command, {**os.environ, **own}, folder, root / f"{name}.log", steps)


def undisturbed(scene: Scene) -> dict[str, int]:
    """Run the study to its end; returns its trials, steps and seconds, which are kept beside its folder.

    Raises RuntimeError where it ends badly.
    """
    began = time.monotonic()
    with ended(scene):
        scene.study.start()
        scene.pass_time(float("inf"))
    if scene.study.starts > 1 or scene.study.unasked:
        raise RuntimeError(f"the undisturbed study ended: {scene.study.unasked}")
    seconds = round(time.monotonic() - began)
    found = {"trials": scene.study.trials(), "steps": scene.study.steps(), "seconds": seconds}
    scene.study.folder.with_suffix(".json").write_text(json.dumps(found))
    return found


def kept(root: Path) -> dict[str, int] | None:
    """What an earlier run with the same folder found of the undisturbed study; None where there was none."""
    path = root / "undisturbed.json"
    found: dict[str, int] | None = json.loads(path.read_text()) if path.exists() else None
    return found


def disturbed(scene: Scene, kinds: Sequence[str], minutes: float, trials: int) -> Counter[str]:
    """Run the study under these faults, then to its end; returns how many of each kind there were."""
    began, had, waiting = time.monotonic(), Counter[str](), list(kinds)
    scene.study.start()
    while waiting:
        spent, done = time.monotonic() - began, scene.study.trials()
        left = minutes * 60 - spent
        if done:
            left = min(left, spent * (trials * NEARLY - done) / done)
        scene.pass_time(scene.rng.uniform(0, 2) * max(left / len(waiting), CLOSEST_S))
        if not scene.pass_time(STILL_S, until=lambda: first_possible(waiting, scene) is not None):
            if not scene.study.finished:
                scene.study.unasked.append(f"no fault was possible for {STILL_S:.0f} s")
            break
        kind = first_possible(waiting, scene)
        assert kind is not None
        waiting.remove(kind)
        said = FAULTS[kind].strike(scene)
        had[kind] += 1
        at = time.monotonic() - began
        print(
            f"{at:6.0f} s  {had.total():3d}/{len(kinds)} {kind} {said}; {done} of {trials} trials, "
            f"start {scene.study.starts}, {scene.study.steps()} steps",
            flush=True,
        )
    scene.put_right()
    scene.pass_time(float("inf"))
    return had


def first_possible(kinds: Sequence[str], scene: Scene) -> str | None:
    """The first of the faults that can come now."""
    if scene.study.finished:
        return None
    return next((kind for kind in kinds if FAULTS[kind].possible(scene)), None)


def left_running(soaked: Study) -> list[str]:
    """The study's processes that are still there after LINGER_S seconds; they are ended here."""
    found = []
    for process in psutil.wait_procs(soaked.processes(), timeout=LINGER_S)[1]:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(f"{process.pid} {' '.join(process.cmdline())[:100]}")
            process.kill()
    return found


def shared_memory() -> set[str]:
    """The names in shared memory."""
    return {path.name for path in SHM.iterdir()} if SHM.exists() else set()


@contextmanager
def ended(scene: Scene) -> Iterator[None]:
    """Leave no fault and, where the block fails, no process of the study behind."""
    try:
        yield
    except BaseException:
        for process in scene.study.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        raise
    finally:
        scene.put_right()


@contextmanager
def served(root: Path) -> Iterator[Server]:
    """A running MLflow server."""
    server = Server(root)
    server.start()
    try:
        server.wait()
        yield server
    finally:
        server.kill()


def soak(root: Path, disk: Path | None, kinds: Sequence[str], args: argparse.Namespace) -> dict[str, Any]:
    """Run both studies; returns the figures, `failed` among them."""
    size, rng = QUICK if args.quick else WHOLE, random.Random(args.seed)
    with served(root) as server:
        (root / "study.yaml").write_text(yaml.safe_dump(configuration(root, size, server, args.seed)))
        quiet = Scene(study(root, "undisturbed", root / "undisturbed"), server, root / "clock", None, rng)
        alone = kept(root) or undisturbed(quiet)
        print(
            f"undisturbed: {alone['trials']} trials, {alone['steps']} steps, {alone['seconds']:.0f} s",
            flush=True,
        )
        scene = Scene(study(root, "soak", root / "disk" / "soak"), server, root / "clock", disk, rng)
        before, began, had_steps = shared_memory(), time.monotonic(), scene.study.steps()
        with ended(scene):
            had = disturbed(scene, kinds, args.minutes, alone["trials"])
        seconds, trained = time.monotonic() - began, scene.study.steps() - had_steps
        checks = {
            "processes": left_running(scene.study),
            "shared memory": sorted(shared_memory() - before),
            "ends that were not asked for": scene.study.unasked,
            **failed_checks(scene.study.folder, quiet.study.folder, server.uri, "soak"),
        }
    return {
        "baseline": "the same study, undisturbed",
        "faults": sum(had.values()),
        "kinds": dict(had),
        "starts": scene.study.starts,
        "trials": alone["trials"],
        "steps_over_undisturbed": trained / alone["steps"],
        "seconds_over_undisturbed": seconds / alone["seconds"],
        "seconds": seconds,
        "checks": len(checks),
        "failed": {name: wrong for name, wrong in checks.items() if wrong},
    }


def main() -> None:
    """Run the studies and print what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="10 faults of a smaller study, within 4 minutes")
    parser.add_argument("--faults", type=int, help="how many (100; with --quick 10)")
    parser.add_argument(
        "--minutes", type=float, help="within how many minutes they come (30; with --quick 4)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the faults and of the study")
    parser.add_argument(
        "--keep", type=Path, help="a folder for everything, whose undisturbed study serves further runs"
    )
    args = parser.parse_args()
    args.faults = args.faults or (10 if args.quick else 100)
    args.minutes = args.minutes or (4 if args.quick else 30)
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    with contextlib.ExitStack() as stack:
        root = args.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak")))
        prepare(root)
        disk = stack.enter_context(small_disk(root / "disk", DISK_SIZE))
        left_out = [] if disk else ["disk_full"]
        kinds = sequence(args.faults, random.Random(args.seed), left_out)
        if left_out:
            print("no file system may be mounted here: disk_full is left out", flush=True)
        figures = soak(root, disk, kinds, args)
        if args.keep and disk:
            shutil.copytree(disk, root / "kept")
    for name, wrong in figures["failed"].items():
        print(f"FAILED {name}: " + "\n  ".join(map(str, wrong)), flush=True)
    print(json.dumps({"benchmark": "soak", **figures, "failed": sorted(figures["failed"])}))
    sys.exit(bool(figures["failed"]) or figures["faults"] < args.faults)


if __name__ == "__main__":
    main()
