"""Run the trainings of the reference study, what matters most first, and gather them in `studies/`.

    python -m studies.reference --runs FOLDER [--gather]

Each stage is the product's own command on a shipped configuration, with a part of its grid. Finished trials
are kept, so the same command goes on wherever it was stopped; `--gather` only writes the files.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
ENDS = {"responses": "2,8"}
CHEAP = {"budget_fractions": "0.03125,0.125"}
SELECTIONS = {"responses": "2,4,8", "budget_fractions": "0.125", "selections": "diverse,narrow"}
# Configuration, and the part of its grid that a stage trains; an empty part is the whole grid.
STAGES: tuple[tuple[str, Mapping[str, str]], ...] = (
    ("sft", ENDS | CHEAP),
    ("pro", ENDS | CHEAP),
    ("sft", ENDS),
    ("sft", SELECTIONS),
    ("sft", {}),
    ("pro", ENDS),
    ("pro", SELECTIONS),
    ("pro", {}),
)


def main() -> None:
    """Train every stage in turn, gathering after each."""
    parser = argparse.ArgumentParser(description="The trainings of the reference study.")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the studies")
    parser.add_argument("--gather", action="store_true", help="train nothing, write the files")
    args = parser.parse_args()
    for name, part in () if args.gather else STAGES:
        train(name, part, args.runs)
        gather(args.runs, whole=False)
    gather(args.runs, whole=not args.gather)


def train(name: str, part: Mapping[str, str], runs: Path) -> None:
    """One stage; a study that cannot recommend yet (exit status 1) is as good as any other."""
    overrides = [text for field, value in part.items() for text in (f"--search.{field}", value)]
    config = ROOT / "configs" / f"reference_{name}.yaml"
    command = [sys.executable, "search/run.py", str(config), *overrides]
    folder = (runs / f"reference-{name}").absolute()
    done = subprocess.run([*command, "--output-dir", str(folder)], cwd=ROOT, check=False)
    if done.returncode not in (0, 1):
        sys.exit(done.returncode)


def gather(runs: Path, *, whole: bool) -> None:
    """Copy each study's trials to `studies/`, with its rewards prompt by prompt and where they come from.

    A study counts among past studies (`apportion plan`) when it is whole.
    """
    for folder in sorted(runs.glob("reference-*")):
        if (trials := folder / "trials.csv").exists():
            target = ROOT / "studies" / folder.name.replace("-", "_")
            shutil.copyfile(trials, target.with_suffix(".csv"))
            write_held_out(folder, target.parent / "held_out" / f"{target.name}.csv")
            about = {"name": folder.name, "source": "docs/reference.md", "counts": whole}
            target.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n")
            target.with_suffix(".yaml").write_text(yaml.safe_dump(source(folder), sort_keys=False))


def write_held_out(folder: Path, path: Path) -> None:
    """One row a training: trial, seed, and its reward on each held-out prompt, in the pool's order."""
    path.parent.mkdir(exist_ok=True)
    rows = [row for each in sorted((folder / "trials").glob("*.json")) for row in _rows(each)]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        count = len(rows[0]) - 2 if rows else 0
        writer.writerow(["trial", "seed", *range(count)])
        writer.writerows(rows)


def _rows(path: Path) -> Iterator[list[str | int | float]]:
    for seed in json.loads(path.read_text())["results"]:
        yield [path.stem, seed["seed"], *(round(reward, 6) for reward in seed["rewards"])]


def source(folder: Path) -> dict[str, object]:
    """Configuration, commit, machine and date of a study."""
    study = json.loads((folder / "study.json").read_text())
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    return {
        "command": "python -m studies.reference --runs FOLDER",
        "commit": commit,
        "machine": f"{os.cpu_count()} cores of {_processor()}, Python {platform.python_version()}",
        "gathered": datetime.now(UTC).isoformat(timespec="minutes"),
        "base_reward": json.loads((folder / "base.json").read_text())["base"]["reward"],
        "pool_digest": study["pool"]["digest"],
        "configuration": yaml.safe_load((folder / "config.yaml").read_text()),
    }


def _processor() -> str:
    """The processor's name and what it computes with, as Linux tells."""
    facts = dict[str, str]()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    flags = facts.get("flags", "").split()
    able = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{facts.get('model name', platform.machine())} ({', '.join(able)})"


if __name__ == "__main__":
    main()
