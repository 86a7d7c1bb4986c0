"""Finished trials and what is known of how they were made: a CSV and what lies beside it, or a folder."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from base.errors import InsufficientDataError
from search.advice.visits import Visits
from search.study.folder import StudyFolder
from search.trials.record import TrialRecord, pooled
from search.trials.trials_csv import read_trials
from trainers.config.trainer import TrainerConfig
from trainers.spec import SeedResult


@dataclass(frozen=True, kw_only=True)
class Source:
    """Trials from a study's folder or a CSV. `configuration` is what they were made with, None where nobody
    wrote it down; `pool` is the digest of their pool, "" where it is unknown. None where they are unknown are
    `base_reward`, and of the pool the prompts to train on and the most responses that each of them has."""

    name: str
    records: Sequence[TrialRecord]
    configuration: Mapping[str, Any] | None = None
    pool: str = ""
    base_reward: float | None = None
    pool_prompts: int | None = None
    pool_responses: int | None = None


def csv_source(path: Path, name: str) -> Source:
    """Read a CSV of trials, with what lies beside it under the same name.

    A YAML file says how they were made (`python -m studies.gather` writes it), a table in `held_out/` gives
    the rewards of each training prompt by prompt, as far as they are known.
    """
    records = _with_rewards(read_trials(path), path.parent / "held_out" / path.name)
    beside = path.with_suffix(".yaml")
    facts = yaml.safe_load(beside.read_text(encoding="utf-8")) if beside.exists() else None
    facts = facts or {}
    return Source(
        name=name,
        records=records,
        configuration=facts.get("configuration"),
        pool=facts.get("pool_digest", ""),
        base_reward=facts.get("base_reward"),
        pool_prompts=facts.get("pool_prompts"),
        pool_responses=facts.get("pool_responses"),
    )


def _with_rewards(records: Sequence[TrialRecord], beside: Path) -> list[TrialRecord]:
    """The records with their rewards prompt by prompt, where the table `beside` has them by trial and seed.

    That is what the noise budget is made of.
    """
    if not beside.exists():
        return list(records)
    with beside.open(newline="", encoding="utf-8") as file:
        _, *rows = csv.reader(file)
    try:
        known = {(trial, int(seed)): tuple(map(float, rewards)) for trial, seed, *rewards in rows}
    except ValueError as error:
        raise InsufficientDataError(f"{beside}: a row is no trial, seed and rewards: {error}") from error
    return _completed(records, {name: {"rewards": rewards} for name, rewards in known.items()})


def with_results(records: Sequence[TrialRecord], folder: StudyFolder) -> list[TrialRecord]:
    """The records of the folder's table, with what only the trials' own files hold.

    Those are the rewards prompt by prompt, and how long each phase took.
    """
    kept = pooled([*folder.earlier(), *folder.records().values()])
    return _completed(
        records,
        {
            (record.trial, result.seed): {"rewards": result.rewards, "telemetry": result.telemetry}
            for record in kept
            for result in record.results
        },
    )


def _completed(
    records: Iterable[TrialRecord], known: Mapping[tuple[str, int], Mapping[str, Any]]
) -> list[TrialRecord]:
    """The records with the fields of their seeds' results that are known, by trial and seed."""

    def result(record: TrialRecord, one: SeedResult) -> SeedResult:
        return replace(one, **known.get((record.trial, one.seed), {}))

    return [replace(r, results=tuple(result(r, one) for one in r.results)) for r in records]


def visits_of(trainer: TrainerConfig) -> Visits:
    """The visits to prompts of every training of a study."""
    known: dict[str, Visits] = {"steps": trainer.visits(1), "epochs": "even", "tokens": None}
    return known[trainer.matching]
