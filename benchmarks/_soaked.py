"""What a study has left behind, beside what the same study has left that nothing disturbed."""

from __future__ import annotations

import csv
import json
import re
import sqlite3
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Fields of records that measure time or memory, or follow from when something happened.
MEASURED = ("seconds", "train_seconds", "telemetry", "tokens_per_second", "peak_memory_gib", "notes")
FAILURES = "logs/mlflow.log"  # says what MLflow could not be shown at once; an undisturbed study has none
# What differs between two names for the same: times, and identifiers of trials, runs and processes.
VARYING = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d|[0-9a-f]{32}|[0-9a-f]{12}|(?<=_)[0-9a-f]{8}(?=_)")


def failed_checks(folder: Path, other: Path, server: str, experiment: str) -> dict[str, list[str]]:
    """What is wrong with the study in `folder` beside the undisturbed one in `other`, by check."""
    keys = {path.stem for path in (other / "trials").glob("*.json")}
    return {
        "trials": _differing(records(folder), records(other)),
        "trials.csv": _differing(table(folder), table(other)),
        "recommendation": _differing(_recommendation(folder), _recommendation(other)),
        "attempts": _wrong(attempts(folder), keys),
        "MLflow": _wrong(mlflow_runs(server, experiment), keys | {"study"}),
        "Optuna": _wrong(optuna_trials(folder / "optuna.db"), keys),
        "files": [
            f"{name} ({count} more)"
            for name, count in sorted((names(folder) - names(other)).items())
            if name != FAILURES
        ],
    }


def untimed(value: Any) -> Any:
    """A JSON value without what measures time or memory."""
    if isinstance(value, dict):
        kept = {name: one for name, one in value.items() if name not in MEASURED}
        return {name: untimed(one) for name, one in kept.items() if not name.startswith("seconds_")}
    return [untimed(one) for one in value] if isinstance(value, list) else value


def records(folder: Path) -> dict[str, Any]:
    """The finished trials by key."""
    return {path.name: untimed(json.loads(path.read_text())) for path in (folder / "trials").iterdir()}


def table(folder: Path) -> dict[str, Any]:
    """The rows of `trials.csv`, each with how often it is there."""
    with (folder / "trials.csv").open(newline="", encoding="utf-8") as file:
        return Counter(json.dumps(untimed(row)) for row in csv.DictReader(file))


def _recommendation(folder: Path) -> dict[str, Any]:
    path = folder / "recommendation.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def attempts(folder: Path) -> Counter[tuple[str, str]]:
    """Key and state of every trial that was ever started."""
    found = [json.loads(path.read_text()) for path in (folder / "attempts").glob("*.json")]
    return Counter((one["key"], one["state"]) for one in found)


def mlflow_runs(server: str, experiment: str) -> Counter[tuple[str, str]]:
    """Key and state of every run in the experiment."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(server)
    runs = client.search_runs([client.get_experiment_by_name(experiment).experiment_id], max_results=50_000)
    return Counter((run.data.tags.get("apportion.key", "no key"), run.info.status) for run in runs)


def optuna_trials(database: Path) -> Counter[tuple[str, str]]:
    """Key and state of every row of Optuna's history, COMPLETE as the others call it."""
    query = (
        "select coalesce(json_extract(value_json, '$'), 'no key'), state from trials left join "
        "trial_user_attributes as a on a.trial_id = trials.trial_id and a.key = 'trial'"
    )
    with sqlite3.connect(database) as opened:
        rows = opened.execute(query).fetchall()
    return Counter((key, "FINISHED" if state == "COMPLETE" else state) for key, state in rows)


def names(folder: Path) -> Counter[str]:
    """Everything in the folder by name, without times and identifiers, each with how often it is there."""
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
    return Counter(VARYING.sub("*", name) for name in found)


def _differing(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """The names whose values differ, or that only one of both has."""
    return sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))


def _wrong(found: Counter[tuple[str, str]], keys: Iterable[str]) -> list[str]:
    """What there is besides, or less often than, each key FINISHED once."""
    wanted = Counter((key, "FINISHED") for key in keys)
    more, fewer = found - wanted, wanted - found
    return [f"{key} {state} ({n} too many)" for (key, state), n in sorted(more.items())] + [
        f"{key} {state} ({n} missing)" for (key, state), n in sorted(fewer.items())
    ]
