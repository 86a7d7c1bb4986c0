"""Run the trainings of the reference study, what matters most first, and gather them in `studies/`.

    python -m studies.reference [--runs FOLDER] [--gather]

Each stage is the product's own command on a shipped configuration, with a part of its grid. Finished trials
are kept, so the same command goes on wherever it was stopped; `--gather` only writes the CSV files.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the studies (runs)")
    parser.add_argument("--gather", action="store_true", help="train nothing, write the CSV files")
    args = parser.parse_args()
    for name, part in () if args.gather else STAGES:
        train(name, part, args.runs)
        gather(args.runs)
    gather(args.runs)


def train(name: str, part: Mapping[str, str], runs: Path) -> None:
    """One stage; a study that cannot recommend yet (exit status 1) is as good as any other."""
    overrides = [text for field, value in part.items() for text in (f"--search.{field}", value)]
    config = ROOT / "configs" / f"reference_{name}.yaml"
    command = [sys.executable, "search/run.py", str(config), *overrides]
    folder = (runs / f"reference-{name}").absolute()
    done = subprocess.run([*command, "--output-dir", str(folder)], cwd=ROOT, check=False)
    if done.returncode not in (0, 1):
        sys.exit(done.returncode)


def gather(runs: Path) -> None:
    """Copy each study's trials to `studies/`."""
    for folder in sorted(runs.glob("reference-*")):
        if (trials := folder / "trials.csv").exists():
            shutil.copyfile(trials, ROOT / "studies" / f"{folder.name.replace('-', '_')}.csv")


if __name__ == "__main__":
    main()
