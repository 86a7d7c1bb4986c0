"""The last words of a study in the terminal: trials, fit, recommendation, where to look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from search.config.hyperparameters import shown
from search.study.folder import StudyFolder
from search.terminal.display import Display
from search.trials.record import TrialRecord

if TYPE_CHECKING:
    from search.advice.analysis import StudyAnalysis
    from search.study.ledger import Ledger


# Lines of the last screen that trials may take: all of it fits 30 lines of 100 columns.
TRIALS_SHOWN = 8


def show_result(display: Display, study: StudyAnalysis, ledger: Ledger) -> None:
    """Print the recommendation, the fit with its interval, the best trials, and where to see more."""
    display.say()
    if study.fit and study.recommendation:
        display.say(study.recommendation.sentence())
        display.say()
        display.say(study.fit.summary().splitlines()[0])
        display.say(study.fit.effect.sentence)
    else:
        display.say(f"No recommendation: {study.why_not}")
    shown = sorted(ledger.records, key=lambda record: -record.reward)[:TRIALS_SHOWN]
    display.console.print(trials_table(shown, study.base_reward or 0.0))
    if left := len(ledger.records) - len(shown):
        display.say(f"{left} more trials are in {ledger.folder.path / 'trials.csv'}")
    for label, reason in list(ledger.failures.items())[:FAILURES_SHOWN]:
        display.say(f"failed: {label}: {reason}")
    if pending := ledger.projection.pending():
        display.say(pending)
    display.say(f"report: {ledger.folder.path / 'report.html'}")
    display.say(f"MLflow: {ledger.projection.where()}")


FAILURES_SHOWN = 2


def show_stopped(display: Display, folder: StudyFolder) -> None:
    """Say what an interrupted study leaves and how to resume."""
    kept = len(list(folder.trials.glob("*.json")))
    display.say()
    display.say(f"stopped: {kept} finished trials are kept in {folder.path}; the same command resumes it")


def trials_table(records: list[TrialRecord], base_reward: float) -> Table:
    """One row a trial, best first, and the base model's reward as the line to compare with."""
    caption = f"base model: reward {base_reward:.4f}"
    table = Table(title="best trials", caption=caption, box=SIMPLE_HEAD, pad_edge=False)
    for column in (
        "prompts",
        "responses",
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
            " ".join([record.selection, *shown(record.hyperparameters)]),
            f"{record.cost:g}",
            f"{record.diversity:.3f}",
            f"{record.reward:.4f}",
            "-" if record.reward_se is None else f"{record.reward_se:.4f}",
            f"{record.reward - base_reward:+.4f}",
            str(len(record.seeds)),
            f"{record.seconds:.0f}",
        )
    return table
