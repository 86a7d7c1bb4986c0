"""What a study takes from its command to the first training step: `python -m benchmarks.first_run [--quick]`.

The smallest study (`configs/smoke.yaml`), stopped when that step begins: `new`, in an empty folder, and
`resumed`, in the same folder again, its base model judged. Two rounds, with `--quick` one. Seconds are from
the study's own `logs/timeline.log`, which is printed; CPU seconds are of all its processes. The last line is
one JSON object; the baseline of its ratios is what was aimed at.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median

import psutil

AIM = {"new": 25.0, "resumed": 15.0}
STEP = re.compile(r" +([\d.]+) s  process \d+, CPU [\d.]+ s  .*: first training step begins")
LONGEST_S = 330


def first_step(folder: Path) -> tuple[float, float]:
    """Seconds until the study in `folder` begins its first step, and CPU seconds of its processes by then."""
    log = folder / "logs" / "timeline.log"
    log.unlink(missing_ok=True)
    study = subprocess.Popen(
        [sys.executable, "-m", "search.cli", "study", "configs/smoke.yaml", "--output-dir", str(folder)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    processes = psutil.Process(study.pid)
    used: dict[int, float] = {}
    try:
        deadline = time.monotonic() + LONGEST_S
        while study.poll() is None and time.monotonic() < deadline:
            used |= cpu_seconds([processes, *processes.children(recursive=True)])
            if log.exists() and (found := STEP.search(log.read_text())):
                print(log.read_text(), flush=True)
                return float(found[1]), sum(used.values())
            time.sleep(0.25)
    finally:
        study.send_signal(signal.SIGINT)
        study.wait()
    raise SystemExit(f"no training step within {LONGEST_S} s; so far:\n{log.read_text()}")


def cpu_seconds(processes: list[psutil.Process]) -> dict[int, float]:
    """What each of them that is still there has used."""
    found = {}
    for one in processes:
        with suppress(psutil.Error):
            found[one.pid] = one.cpu_times().user + one.cpu_times().system
    return found


def main() -> None:
    """Run the rounds and print their figures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one round, not two")
    args = parser.parse_args()
    seconds: dict[str, list[float]] = {kind: [] for kind in AIM}
    cpu: dict[str, list[float]] = {kind: [] for kind in AIM}
    for _ in range(1 if args.quick else 2):
        with tempfile.TemporaryDirectory() as folder:
            for kind in AIM:
                wall, used = first_step(Path(folder) / "study")
                seconds[kind].append(wall)
                cpu[kind].append(used)
                print(f"{kind}: {wall:.1f} s to the first step, {used:.1f} CPU s", flush=True)
    figures = {f"{kind}_s": median(values) for kind, values in seconds.items()}
    figures |= {f"{kind}_cpu_s": round(median(values), 1) for kind, values in cpu.items()}
    ratios = {f"{kind}_over_aim": round(figures[f"{kind}_s"] / aim, 2) for kind, aim in AIM.items()}
    print(json.dumps({"benchmark": "first_run", "baseline": "aim", **ratios, **figures}))


if __name__ == "__main__":
    main()
