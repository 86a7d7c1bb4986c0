"""Trials as a CSV file, one row for each seed: written by a study, or typed in by a user."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

from base.errors import InsufficientDataError
from base.files import write_whole
from pools.response_choice import CHOICES, ResponseChoice
from search.config.scale import ScaleName, guess_scale
from search.trials.design_point import DesignPoint
from search.trials.record import TrialRecord
from trainers.spec import SeedResult

REQUIRED = ("prompts", "responses", "diversity", "reward")
OPTIONAL = ("trial", "seed", "selection", "strength", "cost", "trained_tokens", "seconds")
RATERS = ("raters", "agreement")  # written where the labels are those of so many raters
CHOICE = ("response_choice",)  # written where any is not random
KIND = ("human_share",)  # written where labels are told apart by kind
EARLIER = ("earlier", "group")  # where a seed was trained, if elsewhere; written where any was
BASELINE, DOMAIN, HYPERPARAMETER, FURTHER = "baseline:", "domain:", "hyperparameter:", "reward:"
OF_TRIAL = ("trial", "prompts", "responses", "diversity", "selection", "strength", "cost", "seconds")


def write_trials(path: Path, records: Sequence[TrialRecord]) -> None:
    """Write one row per trial and seed; baselines, domains, hyperparameters, further rewards get columns."""
    baselines = sorted({name for record in records for name in record.baselines})
    domains = sorted({name for record in records for name in record.domain_rewards})
    hyperparameters = sorted({name for record in records for name in record.hyperparameters})
    further = dict.fromkeys(name for r in records for result in r.results for name in result.further_rewards)
    raters = RATERS if any(record.raters for record in records) else ()
    choice = CHOICE if any(record.response_choice != "random" for record in records) else ()
    kind = KIND if any(record.human_share is not None for record in records) else ()
    earlier = EARLIER if any(record.earlier for record in records) else ()
    head = [
        *OPTIONAL[:2],
        *REQUIRED,
        *OPTIONAL[2:],
        *raters,
        *choice,
        *kind,
        *earlier,
        *(HYPERPARAMETER + s for s in hyperparameters),
        *(BASELINE + r for r in baselines),
        *(DOMAIN + d for d in domains),
        *(FURTHER + f for f in further),
    ]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, head, restval="")
    writer.writeheader()
    for record in records:
        writer.writerows(_rows(record, (*raters, *choice, *kind)))
    write_whole(path, text.getvalue())


def _rows(record: TrialRecord, labelling: Sequence[str]) -> Iterable[dict[str, Any]]:
    shared = {name: getattr(record, name) for name in OF_TRIAL}
    shared |= {name: value for name in labelling if (value := getattr(record, name)) is not None}
    shared |= {HYPERPARAMETER + name: value for name, value in record.hyperparameters.items()}
    shared |= {BASELINE + name: value for name, value in record.baselines.items()}
    for result in record.results:
        of_seed = {name: getattr(result, name) for name in ("seed", "reward", "trained_tokens")}
        domains = {DOMAIN + name: value for name, value in result.domain_rewards.items()}
        if record.earlier:
            of_seed |= {"earlier": record.earlier.get(result.seed, ""), "group": record.group}
        yield shared | of_seed | domains | {FURTHER + name: r for name, r in result.further_rewards.items()}


def read_trials(path: Path) -> list[TrialRecord]:
    """Read trials; the columns prompts, responses, diversity and reward are enough.

    Rows that share `trial` (or, without that column, prompts, responses, selection, strength and
    diversity) are seeds of one trial. A bad value is refused with its line and column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InsufficientDataError(f"cannot read trials from {path}: {error}") from error
    reader = csv.DictReader(text.splitlines())
    reader.fieldnames = [_known(name) for name in reader.fieldnames or ()]
    _check_columns(path, reader.fieldnames)
    groups: dict[tuple[object, ...], list[_Row]] = {}
    for values in reader:
        if any(value and str(value).strip() for value in values.values()):  # spreadsheets leave blank rows
            row = _Row(path, reader.line_num, values)
            groups.setdefault(row.identity(), []).append(row)
    for rows in groups.values():
        _refuse_repeats(rows)
    if not groups:
        raise InsufficientDataError(f"{path} holds no trial, only a heading")
    return [_record(rows, number) for number, rows in enumerate(groups.values(), 1)]


def _known(name: str) -> str:
    """A column's name, of one that is known whatever its case and the spaces around it."""
    plain = name.strip().lower()
    return plain if plain in (*REQUIRED, *OPTIONAL, *RATERS, *CHOICE, *KIND, *EARLIER) else name.strip()


def _check_columns(path: Path, names: Sequence[str]) -> None:
    missing = [name for name in REQUIRED if name not in names]
    if not missing:
        return
    there = f"the columns are {', '.join(names)}" if names else "it is empty"
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        there += "; values must be parted by commas, and numbers written with a point"
    raise InsufficientDataError(
        f"{path}: no column {', '.join(missing)}; a CSV of trials needs {', '.join(REQUIRED)}, and {there}"
    )


def _refuse_repeats(rows: Sequence[_Row]) -> None:
    """A seed that comes twice in a trial would count as one more seed."""
    first: dict[str, _Row] = {}
    for row in rows:
        seed = row.text("seed")
        if seed and (other := first.setdefault(seed, row)) is not row:
            raise InsufficientDataError(
                f"{row.where}: repeats line {other.line}, the same trial with seed {seed}; leave one out, "
                "or give each seed of a trial a number of its own"
            )


class _Row:
    """One line of the file, read with the line and column in every complaint."""

    def __init__(self, path: Path, line: int, values: Mapping[str | None, Any]) -> None:
        self.where, self.line, self.values = f"{path}, line {line}", line, values
        if None in values:
            raise InsufficientDataError(f"{self.where}: more values than columns: {values[None]}")

    def text(self, name: str, default: str = "") -> str:
        return str(self.values.get(name) or default).strip()

    def number(self, name: str, default: float | None = None, text: str | None = None) -> float:
        text = self.text(name) if text is None else text
        if not text and default is not None:
            return default
        try:
            value = float(text)
        except ValueError:
            raise InsufficientDataError(f"{self.where}, column {name}: {text!r} is not a number") from None
        if not isfinite(value):
            raise InsufficientDataError(f"{self.where}, column {name}: {text!r} is not finite")
        return value

    def count(self, name: str, default: float | None = None) -> int:
        value = self.number(name, default)
        if value != int(value) or (default is None and value < 1):
            raise InsufficientDataError(
                f"{self.where}, column {name}: {self.text(name)!r} is not a count of 1 or more"
            )
        return int(value)

    def prefixed(self, prefix: str) -> dict[str, float]:
        names = [name for name in self.values if name and name.startswith(prefix) and self.text(name)]
        return {name[len(prefix) :]: self.number(name) for name in names}

    def hyperparameters(self) -> dict[str, str | float]:
        names = [name for name in self.values if name and name.startswith(HYPERPARAMETER) and self.text(name)]
        return {name[len(HYPERPARAMETER) :]: _number_or_word(self.text(name)) for name in names}

    def result(self, index: int) -> SeedResult:
        """The row as the result of a seed, by default the one that `index` stands for."""
        return SeedResult(
            seed=self.count("seed", index),
            reward=self.reward(),
            domain_rewards=self.prefixed(DOMAIN),
            further_rewards=self.prefixed(FURTHER),
            trained_tokens=self.count("trained_tokens", 0),
        )

    def identity(self) -> tuple[object, ...]:
        labelled = self.text("raters"), self.text("response_choice", "random"), self.text("human_share")
        shape = (self.text("group"), self.count("prompts"), self.count("responses"), *labelled)
        if self.text("trial"):
            return (self.text("trial"), *shape)
        return (
            *shape,
            self.text("selection", "random"),
            self.number("strength", 0),
            self.number("diversity"),
        )

    def human_share(self) -> float | None:
        if not self.text("human_share"):
            return None
        share = self.number("human_share")
        if not 0 <= share <= 1:
            raise InsufficientDataError(f"{self.where}, column human_share: {share:g} is not between 0 and 1")
        return share

    def response_choice(self) -> ResponseChoice:
        found = self.text("response_choice", "random")
        for choice in CHOICES:
            if found == choice:
                return choice
        raise InsufficientDataError(
            f"{self.where}, column response_choice: {found!r} is none of {', '.join(CHOICES)}"
        )

    def reward(self) -> float:
        """The reward on its own scale; a trailing % is only its unit."""
        return self.number("reward", text=self.text("reward").removesuffix("%").strip())

    def error(self) -> float | None:
        """The standard error of a row that is a mean over unnamed seeds; None without such a column."""
        if not self.text("reward_se"):
            return None
        error = self.number("reward_se")
        if error < 0:
            raise InsufficientDataError(f"{self.where}, column reward_se: {error:g} is negative")
        return error

    def results(self, index: int) -> list[SeedResult]:
        """One result, or where only a mean and its standard error are given two that have both.

        A mean with an error counts as two seeds: the fewest that have a standard error.
        """
        result, error = self.result(index), self.error()
        if error is None:
            return [result]
        return [
            replace(result, seed=2 * index + second, reward=result.reward + sign * error)
            for second, sign in enumerate((-1, 1))
        ]


def scale_of(path: Path, records: Sequence[TrialRecord]) -> ScaleName:
    """The scale of the rewards in a CSV of trials, by its % signs or by the range of its rewards."""
    if "%" in path.read_text(encoding="utf-8-sig"):
        return "percent"
    return guess_scale(reward for record in records for reward in record.rewards)


def _record(rows: Sequence[_Row], number: int) -> TrialRecord:
    first = rows[0]
    point = DesignPoint(
        prompts=first.count("prompts"),
        responses=first.count("responses"),
        selection=first.text("selection", "random"),
        strength=first.number("strength", 0),
        hyperparameters=tuple(sorted(first.hyperparameters().items())),
        raters=first.count("raters") if first.text("raters") else None,
        agreement=first.number("agreement") if first.text("agreement") else None,
        response_choice=first.response_choice(),
        human_share=first.human_share(),
    )
    results = tuple(result for index, row in enumerate(rows) for result in row.results(index))
    sources = {
        result.seed: source
        for index, row in enumerate(rows)
        if (source := row.text("earlier"))
        for result in row.results(index)
    }
    return TrialRecord(
        trial=first.text("trial", f"row {number}"),
        point=point,
        cost=first.number("cost", point.prompts * point.responses * (point.raters or 1)),
        diversity=sum(row.number("diversity") for row in rows) / len(rows),
        results=results,
        baselines=first.prefixed(BASELINE),
        seconds=first.number("seconds", 0),
        earlier=sources,
        group=first.text("group"),
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
        raise InsufficientDataError(f"cannot read {path}: {error}") from error
