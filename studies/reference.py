"""Run the trainings of the reference study, what matters most first, and gather them in `studies/`.

    python -m studies.reference --runs FOLDER [--anew | --gather]

Each stage is the product's own command on a shipped configuration, with a part of its grid. It goes on from
the trials in `studies/` (`search.earlier`), so that the same command takes the study up wherever it was
stopped, on whatever machine; `--anew` trains all of them again and leaves `studies/` as it is, `--gather`
only writes the files.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from search.study.folder import StudyFolder
from studies.gather import ROOT, Origin, csv_of, gather, note_makers

COMMAND = "python -m studies.reference --runs FOLDER"
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
    ("sft-epochs", {}),
    ("sft", {"seeds": "3"}),
    ("sft", SELECTIONS | {"seeds": "3"}),
    ("dpo", ENDS | CHEAP),
    ("dpo", {}),
    ("sft-averaged", {}),
)


def main() -> None:
    """Train every stage in turn, gathering after each."""
    parser = argparse.ArgumentParser(description="The trainings of the reference study.")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the studies")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--anew", action="store_true", help="train what was gathered too, and write no file")
    how.add_argument("--gather", action="store_true", help="train nothing, write the files")
    args = parser.parse_args()
    for name, part in () if args.gather else STAGES:
        train(name, part, args.runs, anew=args.anew)
        if not args.anew:
            gather_all(args.runs, whole=False)
    if not args.anew:
        gather_all(args.runs, whole=not args.gather)


def train(name: str, part: Mapping[str, str], runs: Path, *, anew: bool = False) -> None:
    """One stage; a study that cannot recommend yet (exit status 1) is as good as any other."""
    overrides = [text for field, value in part.items() for text in (f"--search.{field}", value)]
    if (gathered := csv_of(f"reference-{name}")).exists() and not anew:
        overrides += ["--search.earlier", str(gathered.relative_to(ROOT))]
    command = [sys.executable, "search/run.py", str(config_of(name)), *overrides]
    folder = StudyFolder(runs / f"reference-{name}")
    done = subprocess.run([*command, "--output-dir", str(folder.path)], cwd=ROOT, check=False)
    note_makers(folder)
    if done.returncode not in (0, 1):
        sys.exit(done.returncode)


def gather_all(runs: Path, *, whole: bool) -> None:
    """Gather each algorithm's study; they count among past studies when they are `whole`."""
    for folder in map(StudyFolder, sorted(runs.glob("reference-*"))):
        gather(folder, Origin("docs/reference.md", COMMAND, counts=whole))


def config_of(name: str) -> Path:
    """The configuration of a stage's study."""
    return ROOT / "configs" / f"reference_{name.replace('-', '_')}.yaml"


if __name__ == "__main__":
    main()
