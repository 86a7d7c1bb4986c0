"""The last words of a study in the terminal: trials, fit, recommendation, where to look."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from search.advice.prediction import verdict
from search.config.hyperparameters import shown
from search.study.folder import StudyFolder
from search.terminal.display import Display
from search.trials.record import TrialRecord

if TYPE_CHECKING:
    from search.advice.analysis import StudyAnalysis
    from search.study.ledger import Ledger


# All that a study says at its end fits a screen of so many lines, the first of them the answer.
SCREEN_LINES, SCREEN_COLUMNS = 30, 100
TABLE_FRAME, FEWEST_TRIALS, MOST_TRIALS = 6, 2, 8  # title, head, rule, caption, and where the others are
CHECKS_SHOWN, FAILURES_SHOWN = 4, 2


def show_result(display: Display, study: StudyAnalysis, ledger: Ledger) -> None:
    """Print the recommendation, the fit with its interval, the best trials, and where to see more."""
    below, columns = _where(ledger), min(display.console.width, SCREEN_COLUMNS)
    for checks in range(CHECKS_SHOWN, -1, -1):
        above = _answer(study, checks)
        room = SCREEN_LINES - 1 - TABLE_FRAME - _height([*above, *below], columns)
        if room >= FEWEST_TRIALS:
            break
    offsets = [offset.sentence(study.fit.scale) for offset in study.fit.offsets] if study.fit else []
    if offsets and room - _height(offsets[:1], columns) >= FEWEST_TRIALS:
        above.append(offsets[0])
        room -= _height(offsets[:1], columns)
    best = sorted(ledger.records, key=lambda record: -record.reward)
    shown = best[: min(max(room, FEWEST_TRIALS), MOST_TRIALS)]
    display.say()
    for line in above:
        display.say(line)
    display.console.print(trials_table(shown, study.base_reward or 0.0))
    if left := len(ledger.records) - len(shown):
        display.say(f"{left} more trials are in {ledger.folder.path / 'trials.csv'}")
    for line in below:
        display.say(line)


def _height(texts: Sequence[str], columns: int) -> int:
    """Lines that these texts take on a screen of so many columns."""
    lines = [line for text in texts for line in text.split("\n")]
    return sum(max(1, ceil(len(line) / columns)) for line in lines)


def _answer(study: StudyAnalysis, most_checks: int) -> list[str]:
    """The recommendation, whether it holds elsewhere, earlier trials' predictions, the relation."""
    if study.fit is None or study.recommendation is None:
        return [f"No recommendation: {study.why_not}"]
    checks = [f"  {check.sentence()}" for check in study.checks[:most_checks]]
    predicted = [verdict(study.checks), *checks] if study.checks else []
    relation = [study.fit.summary().splitlines()[0], study.fit.effect.sentence]
    others = [other.sentence() for other in study.others]
    line = study.carried.line() if study.carried else ""
    carried = [line] if line else []
    first = [*study.cautions(), *carried, *others]
    return [study.recommendation.sentence(), *first, "", *predicted, *relation]


def _where(ledger: Ledger) -> list[str]:
    """What went wrong, and where to see more."""
    failures = list(ledger.failures.items())[:FAILURES_SHOWN]
    pending = ledger.projection.pending()
    return [
        *(f"failed: {label}: {reason}" for label, reason in failures),
        *([pending] if pending else []),
        f"report: {ledger.folder.path / 'report.html'}",
        f"MLflow: {ledger.projection.where()}",
    ]


def show_stopped(display: Display, folder: StudyFolder) -> None:
    """Say what an interrupted study leaves and how to resume."""
    kept = len(list(folder.trials.glob("*.json")))
    display.say()
    display.say(f"stopped: {kept} finished trials are kept in {folder.path}; the same command resumes it")


def trials_table(records: list[TrialRecord], base_reward: float) -> Table:
    """One row a trial, best first, and the base model's reward as the line to compare with."""
    caption = f"base model: reward {base_reward:.4f}"
    table = Table(title="best trials", caption=caption, box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    rated = any(record.raters for record in records)
    chosen = any(record.response_choice != "random" for record in records)
    kinds = any(record.human_share is not None for record in records)
    for column in (
        "prompts",
        "responses",
        *["raters"] * rated,
        *["choice"] * chosen,
        *["labels"] * kinds,
        "selection",
        "cost",
        "diversity",
        "reward",
        "± se",
        "lift",
        "seeds",
        "s",
    ):
        table.add_column(column, justify="left" if column == "selection" else "right")
    for record in records:
        table.add_row(
            f"{record.prompts:,}",
            str(record.responses),
            *[str(record.raters or "-")] * rated,
            *[record.response_choice] * chosen,
            *[record.labelling.labels] * kinds,
            " ".join([record.selection, *shown(record.hyperparameters)]),
            f"{record.cost:g}",
            f"{record.diversity:.3f}",
            f"{record.reward:.4f}",
            "-" if record.reward_se is None else f"{record.reward_se:.4f}",
            f"{record.reward - base_reward:+.4f}",
            _seeds(record),
            f"{record.seconds:.0f}",
        )
    return table


def _seeds(record: TrialRecord) -> str:
    """How many seeds a trial has, and which of them were trained elsewhere."""
    if not record.earlier:
        return str(len(record.seeds))
    own = len(record.seeds) - len(record.earlier)
    return f"{own} + {len(record.earlier)} earlier" if own else f"{len(record.earlier)} earlier"
