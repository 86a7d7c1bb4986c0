"""Trials as a CSV file, one row for each seed: written by a study, or typed in by a user."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from base.errors import NoGroundError
from search.trials.record import TrialRecord

REQUIRED = ("prompts", "responses", "diversity", "reward")
OPTIONAL = ("trial", "seed", "selection", "strength", "cost", "trained_tokens", "seconds")
RIVAL, DOMAIN, SETTING = "rival:", "domain:", "setting:"


def write_trials(path: Path, records: Sequence[TrialRecord]) -> None:
    """Write one row per trial and seed; rivals, domain rewards and settings get columns of their own."""
    rivals = sorted({name for record in records for name in record.rivals})
    domains = sorted({name for record in records for name in record.domain_rewards})
    settings = sorted({name for record in records for name in record.settings})
    head = [
        *OPTIONAL[:2],
        *REQUIRED,
        *OPTIONAL[2:],
        *(SETTING + s for s in settings),
        *(RIVAL + r for r in rivals),
        *(DOMAIN + d for d in domains),
    ]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, head, restval="")
        writer.writeheader()
        for record in records:
            writer.writerows(_rows(record))


def _rows(record: TrialRecord) -> Iterable[dict[str, Any]]:
    shared = {name: getattr(record, name) for name in ("trial", *OPTIONAL[2:], *REQUIRED[:3])}
    shared |= {SETTING + name: value for name, value in record.settings.items()}
    shared |= {RIVAL + name: value for name, value in record.rivals.items()}
    shared |= {DOMAIN + name: value for name, value in record.domain_rewards.items()}
    return ({**shared, "seed": s, "reward": r} for s, r in zip(record.seeds, record.rewards, strict=True))


def read_trials(path: Path) -> list[TrialRecord]:
    """Read trials; the columns prompts, responses, diversity and reward are enough.

    Rows that share `trial` (or, without that column, prompts, responses, selection, strength and
    diversity) are seeds of one trial. A bad value is refused with its line and column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise NoGroundError(f"cannot read trials from {path}: {error}") from error
    reader = csv.DictReader(text.splitlines())
    missing = [name for name in REQUIRED if name not in (reader.fieldnames or ())]
    if missing:
        raise NoGroundError(
            f"{path}: no column {', '.join(missing)}; a CSV of trials needs {', '.join(REQUIRED)}"
        )
    groups: dict[tuple[object, ...], list[_Row]] = {}
    for values in reader:
        row = _Row(path, reader.line_num, values)
        groups.setdefault(row.identity(), []).append(row)
    if not groups:
        raise NoGroundError(f"{path} holds no trial, only a heading")
    return [_record(rows, number) for number, rows in enumerate(groups.values(), 1)]


class _Row:
    """One line of the file, read with the line and column in every complaint."""

    def __init__(self, path: Path, line: int, values: Mapping[str | None, Any]) -> None:
        self.where, self.values = f"{path}, line {line}", values
        if None in values:
            raise NoGroundError(f"{self.where}: more values than columns: {values[None]}")

    def text(self, name: str, default: str = "") -> str:
        return str(self.values.get(name) or default).strip()

    def number(self, name: str, default: float | None = None) -> float:
        text = self.text(name)
        if not text and default is not None:
            return default
        try:
            value = float(text)
        except ValueError:
            raise NoGroundError(f"{self.where}, column {name}: {text!r} is not a number") from None
        if not isfinite(value):
            raise NoGroundError(f"{self.where}, column {name}: {text!r} is not finite")
        return value

    def count(self, name: str, default: float | None = None) -> int:
        value = self.number(name, default)
        if value != int(value) or (default is None and value < 1):
            raise NoGroundError(
                f"{self.where}, column {name}: {self.text(name)!r} is not a count of 1 or more"
            )
        return int(value)

    def prefixed(self, prefix: str) -> dict[str, float]:
        names = [name for name in self.values if name and name.startswith(prefix) and self.text(name)]
        return {name[len(prefix) :]: self.number(name) for name in names}

    def settings(self) -> dict[str, str | float]:
        names = [name for name in self.values if name and name.startswith(SETTING) and self.text(name)]
        return {name[len(SETTING) :]: _number_or_word(self.text(name)) for name in names}

    def identity(self) -> tuple[object, ...]:
        shape = (self.count("prompts"), self.count("responses"))
        if self.text("trial"):
            return (self.text("trial"), *shape)
        return (
            *shape,
            self.text("selection", "random"),
            self.number("strength", 0),
            self.number("diversity"),
        )

    def reward(self) -> float:
        value = self.number("reward")
        if not 0 <= value <= 1:
            raise NoGroundError(f"{self.where}, column reward: {value} is not within 0 and 1")
        return value


def _record(rows: Sequence[_Row], number: int) -> TrialRecord:
    first = rows[0]
    prompts, responses = first.count("prompts"), first.count("responses")
    return TrialRecord(
        trial=first.text("trial", f"row {number}"),
        prompts=prompts,
        responses=responses,
        cost=first.number("cost", prompts * responses),
        diversity=sum(row.number("diversity") for row in rows) / len(rows),
        seeds=tuple(row.count("seed", index) for index, row in enumerate(rows)),
        rewards=tuple(row.reward() for row in rows),
        selection=first.text("selection", "random"),
        strength=first.number("strength", 0),
        settings=first.settings(),
        rivals=first.prefixed(RIVAL),
        domain_rewards=first.prefixed(DOMAIN),
        trained_tokens=first.count("trained_tokens", 0),
        seconds=first.number("seconds", 0),
    )


def _number_or_word(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return {"True": True, "False": False}.get(text, text)


def read_json(path: Path) -> Any:
    """A JSON file of a study folder, or a complaint that names it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NoGroundError(f"cannot read {path}: {error}") from error
