"""Put the trials of a study in `studies/`, where they are read and other studies go on from them.

    python -m studies.gather FOLDER --source docs/alpaca_eval.md --command "python search/run.py ..."

A study that was trained on several machines, each going on from what was gathered before (`search.earlier`),
is gathered as one.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml

from search.study.earlier import without
from search.study.folder import StudyFolder
from search.trials.record import TrialRecord, pooled
from search.trials.trials_csv import write_trials

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Origin:
    """The page that reads a study, the command that trains it again, and whether it `counts` among past
    studies (`apportion plan`)."""

    source: str
    command: str
    counts: bool = False


def main() -> None:
    """Gather one study."""
    parser = argparse.ArgumentParser(description="Put a study's trials in studies/.")
    parser.add_argument("folder", type=Path, help="the study's folder")
    parser.add_argument("--source", required=True, help="the page that reads it")
    parser.add_argument("--command", required=True, help="the command that trains it")
    args = parser.parse_args()
    gather(StudyFolder(args.folder), Origin(args.source, args.command))


def gather(folder: StudyFolder, origin: Origin) -> None:
    """Write the study's trials, its rewards prompt by prompt, and its origin; nothing without trials."""
    if not (records := trained(folder)):
        return
    configuration = _portable(yaml.safe_load((folder.path / "config.yaml").read_text()))
    target = csv_of(configuration["name"])
    about = target.with_suffix(".yaml")
    before = yaml.safe_load(about.read_text()) if about.exists() else {}
    write_trials(target, records)
    write_held_out(records, target.parent / "held_out" / target.name)
    past = {"name": configuration["name"], "source": origin.source, "counts": origin.counts}
    target.with_suffix(".json").write_text(json.dumps(past, indent=2) + "\n")
    facts = {"command": origin.command, **_made(folder, before), "configuration": configuration}
    about.write_text(yaml.safe_dump(facts, sort_keys=False))


def csv_of(study: str) -> Path:
    """Where the trials of the study of that name are gathered."""
    return ROOT / "studies" / f"{study.replace('-', '_')}.csv"


def trained(folder: StudyFolder) -> list[TrialRecord]:
    """The folder's trials and those that it goes on from, which are one study."""
    own = folder.records().values()
    records = pooled([*without(folder.earlier(), own), *own])
    return [replace(record, earlier={}) for record in records]


def write_held_out(records: Sequence[TrialRecord], path: Path) -> None:
    """One row a training whose rewards are known: trial, seed, and the reward of each held-out prompt."""
    if not (rows := list(_rows(records))):
        return
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["trial", "seed", *range(len(rows[0]) - 2)])
        writer.writerows(rows)


def _rows(records: Iterable[TrialRecord]) -> Iterator[list[str | int | float]]:
    for record in sorted(records, key=lambda one: one.trial):
        for seed in filter(attrgetter("rewards"), record.results):
            yield [record.trial, seed.seed, *(round(reward, 6) for reward in seed.rewards)]


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


def _made(folder: StudyFolder, before: Mapping[str, Any]) -> dict[str, object]:
    """Every commit and machine that a study was trained with, when it was gathered, its base and its pool.

    Of the pool its digest, the prompts to train on, and the most responses that each of them has.
    """
    study = folder.read_json("study.json") or {}
    base = folder.base(study["identity"])
    return {
        **_makers(before, study),
        "gathered": datetime.now(UTC).isoformat(timespec="minutes"),
        "base_reward": base["base"]["reward"] if base else before.get("base_reward"),
        "pool_digest": study["pool"]["digest"],
        "pool_prompts": study.get("max_prompts"),
        "pool_responses": max(study.get("responses", ()), default=None),
    }


def _portable(configuration: dict[str, Any]) -> dict[str, Any]:
    """The configuration without where this machine keeps the pool, which is known by its digest."""
    pool = configuration["pool"]
    path = pool["path"]
    return {**configuration, "pool": {**pool, "path": Path(path).name if Path(path).exists() else path}}


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
