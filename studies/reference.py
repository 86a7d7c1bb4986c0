"""Run the trainings of the reference study, what matters most first, and gather them in `studies/`.

    python -m studies.reference --runs FOLDER [--gather]

Each stage is the product's own command on a shipped configuration, with a part of its grid. It goes on from
the trials in `studies/` (`search.earlier`), so that the same command takes the study up wherever it was
stopped, on whatever machine; `--gather` only writes the files.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from search.study.earlier import without
from search.study.folder import StudyFolder
from search.trials.record import TrialRecord, pooled
from search.trials.trials_csv import write_trials

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
    ("sft-epochs", {}),
    ("sft", {"seeds": "3"}),
    ("dpo", ENDS | CHEAP),
    ("dpo", {}),
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
    if (gathered := csv_of(f"reference-{name}")).exists():
        overrides += ["--search.earlier", str(gathered.relative_to(ROOT))]
    command = [sys.executable, "search/run.py", str(config_of(name)), *overrides]
    folder = StudyFolder(runs / f"reference-{name}")
    done = subprocess.run([*command, "--output-dir", str(folder.path)], cwd=ROOT, check=False)
    note_makers(folder)
    if done.returncode not in (0, 1):
        sys.exit(done.returncode)


def note_makers(folder: StudyFolder) -> None:
    """Add this code's commit and this machine to those that trained the study, in its folder."""
    if study := folder.read_json("study.json"):
        machine = f"{os.cpu_count()} cores of {_processor()}, Python {platform.python_version()}"
        here = {"commits": [_commit()], "machines": [machine]}
        folder.note_study(**_makers(study, here))


def _makers(*facts: Mapping[str, Any]) -> dict[str, list[str]]:
    """Commits and machines of all, each once."""
    return {
        name: list(dict.fromkeys(one for each in facts for one in each.get(name, ())))
        for name in ("commits", "machines")
    }


def config_of(name: str) -> Path:
    """The configuration of a stage's study."""
    return ROOT / "configs" / f"reference_{name.replace('-', '_')}.yaml"


def csv_of(study: str) -> Path:
    """Where the trials of that study are gathered."""
    return ROOT / "studies" / f"{study.replace('-', '_')}.csv"


def gather(runs: Path, *, whole: bool) -> None:
    """Write each study's trials to `studies/`, with its rewards prompt by prompt and where they come from.

    A study counts among past studies (`apportion plan`) when it is whole.
    """
    for folder in map(StudyFolder, sorted(runs.glob("reference-*"))):
        if records := trained(folder):
            target = csv_of(folder.path.name)
            about = target.with_suffix(".yaml")
            before = yaml.safe_load(about.read_text()) if about.exists() else {}
            write_trials(target, records)
            write_held_out(records, target.parent / "held_out" / target.name)
            past = {"name": folder.path.name, "source": "docs/reference.md", "counts": whole}
            target.with_suffix(".json").write_text(json.dumps(past, indent=2) + "\n")
            about.write_text(yaml.safe_dump(source(folder, before), sort_keys=False))


def trained(folder: StudyFolder) -> list[TrialRecord]:
    """The folder's trials and those that it goes on from, which are one study."""
    own = folder.records().values()
    records = pooled([*without(folder.earlier(), own), *own])
    return [replace(record, earlier={}) for record in records]


def write_held_out(records: Sequence[TrialRecord], path: Path) -> None:
    """One row a training: trial, seed, and its reward on each held-out prompt, in the pool's order."""
    path.parent.mkdir(exist_ok=True)
    rows = list(_rows(records))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["trial", "seed", *range(len(rows[0]) - 2)])
        writer.writerows(rows)


def _rows(records: Iterable[TrialRecord]) -> Iterator[list[str | int | float]]:
    for record in sorted(records, key=lambda one: one.trial):
        for seed in record.results:
            yield [record.trial, seed.seed, *(round(reward, 6) for reward in seed.rewards)]


def source(folder: StudyFolder, before: Mapping[str, Any]) -> dict[str, object]:
    """Configuration and date of a study, and every commit and machine that it was trained with."""
    study = folder.read_json("study.json") or {}
    base = folder.base(study["identity"])
    return {
        "command": "python -m studies.reference --runs FOLDER",
        **_makers(before, study),
        "gathered": datetime.now(UTC).isoformat(timespec="minutes"),
        "base_reward": base["base"]["reward"] if base else before.get("base_reward"),
        "pool_digest": study["pool"]["digest"],
        "configuration": yaml.safe_load((folder.path / "config.yaml").read_text()),
    }


def _commit() -> str:
    """The commit of this code."""
    command = ["git", "rev-parse", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


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
