"""What a study shows while it runs: where it stands and how far its running trials are, in words and bars."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from search.execution.board import BASE

Row = Mapping[str, float]  # a running trial's latest figures, as on `search.execution.board`
Rows = Mapping[str, Row]
BAR = 16  # characters
TRIALS = "trials"  # names the line that counts them


@dataclass(frozen=True, kw_only=True)
class Running:
    """A trial that runs, with the seeds it trains in turn and the seconds since it began."""

    label: str
    seeds: Sequence[int]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a study stands. `trials` is how many there may be; rewards lie in [0, 1].

    `best` is the label and the mean reward of the best point so far. `seconds_left` is an upper estimate,
    None where it is unknown.
    """

    finished: int
    failed: int
    trials: int
    best: tuple[str, float] | None
    base_reward: float | None
    belief: str
    running: Sequence[Running]
    seconds_left: float | None


def facts(standing: Standing) -> dict[str, str]:
    """What is known of the study as a whole, one line each, by a name for the line."""
    lines = {TRIALS: f"{standing.finished} of {standing.trials} trials finished"}
    if standing.failed:
        lines[TRIALS] += f", {standing.failed} failed"
    if standing.best:
        label, reward = standing.best
        base = "" if standing.base_reward is None else f"; base model {standing.base_reward:.4f}"
        lines["best"] = f"best reward so far {reward:.4f} ({label}){base}"
    if standing.belief:
        lines["belief"] = f"belief: {standing.belief}"
    return lines


def time_left(standing: Standing) -> str:
    """`; at most about 12 min left`, or nothing where it is unknown."""
    return f"; at most about {_span(standing.seconds_left)} left" if standing.seconds_left else ""


def notes(standing: Standing, rows: Rows | None) -> dict[str, str]:
    """A line for each running trial, by its label, and for a reward model's fit, if they reported any."""
    found = {trial.label: _note(trial, _own(trial, rows or {})) for trial in standing.running}
    found[BASE] = _preparing(rows or {})
    return {label: f"{label}: {note}" for label, note in found.items() if note}


def drawn(standing: Standing, rows: Rows | None) -> RenderableType:
    """The live view: the study's lines, then one with a bar for each running trial; `rows` may be unknown."""
    lines = facts(standing)
    lines[TRIALS] += time_left(standing)
    if note := _preparing(rows or {}):
        lines[BASE] = f"{BASE}: {note}"
    table = Table.grid(padding=(0, 2))
    for trial in standing.running:
        row = _own(trial, rows or {})
        bar = ProgressBar(total=1.0, completed=_share(trial, row), width=BAR)
        minutes, seconds = divmod(int(trial.seconds), 60)
        note = _note(trial, row) or ("" if rows is None else "starting")
        table.add_row(Text(f"  {trial.label}"), bar, Text(f"{minutes}:{seconds:02}"), Text(note))
    return Group(*(Text(f"  {line}") for line in lines.values()), table)


def _preparing(rows: Rows) -> str:
    """How far the reward model's fit is; "" where none is being fitted."""
    share = rows.get(BASE, {}).get("fitted", 1.0)
    return f"fitting the reward model, {share:.0%}" if share < 1 else ""


def _own(trial: Running, rows: Rows) -> Row:
    """The trial's row; a row that an earlier trial of the same point left behind is of other seeds."""
    row = rows.get(trial.label, {})
    return row if "seed" not in row or row["seed"] in trial.seeds else {}


def _note(trial: Running, row: Row) -> str:
    parts = []
    if "seed" in row:
        parts.append(f"seed {trial.seeds.index(int(row['seed'])) + 1} of {len(trial.seeds)}")
    if "step" in row:
        parts.append(f"step {row['step']:.0f} of {row['steps']:.0f}, loss {row['loss']:.3f}")
    if "dev_reward" in row:
        parts.append(f"dev reward {row['dev_reward']:.4f}")
    if done := int(row.get("seeds_done", 0)):
        parts.append(f"reward {row['reward']:.4f} ({done} seed{'s' * (done > 1)})")
    return ", ".join(parts)


def _share(trial: Running, row: Row) -> float:
    """How much of its trainings a trial has behind it, from 0 to 1."""
    if "step" not in row:
        return row.get("seeds_done", 0.0) / len(trial.seeds)
    return (trial.seeds.index(int(row["seed"])) + row["step"] / row["steps"]) / len(trial.seeds)


def _span(seconds: float) -> str:
    """A rough duration, rounded up: `12 min`, `3 h 20 min`, `2 d 5 h`."""
    minutes = math.ceil(seconds / 60)
    hours, days = minutes // 60, minutes // 1440
    if not hours:
        return f"{minutes} min"
    return f"{days} d {hours % 24} h" if days else f"{hours} h {minutes % 60} min"
