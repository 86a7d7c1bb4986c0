"""The last words of a study in the terminal: trials, fit, recommendation, where to look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from search.config.hyperparameters import shown
from search.study.folder import StudyFolder
from search.terminal.display import Display
from search.trials.record import TrialRecord

if TYPE_CHECKING:
    from search.advice.analysis import StudyAnalysis
    from search.study.ledger import Ledger


def show_result(display: Display, study: StudyAnalysis, ledger: Ledger) -> None:
    """Print the table of trials, the fit with its interval, the recommendation, and how to see more."""
    base = study.base_reward or 0.0
    display.say()
    display.console.print(trials_table(ledger.records, base))
    for label, reason in ledger.failures.items():
        display.say(f"failed: {label}: {reason}")
    if study.fit and study.recommendation:
        display.say(study.fit.summary())
        display.say()
        display.say(study.recommendation.sentence())
    else:
        display.say(f"No recommendation: {study.why_not}")
    display.say()
    if pending := ledger.tracker.pending():
        display.say(pending)
    display.say(f"report: {ledger.folder.path / 'report.html'}")
    display.say(f"MLflow: {ledger.tracker.where()}")


def show_stopped(display: Display, folder: StudyFolder) -> None:
    """Say what an interrupted study leaves and how to go on."""
    kept = len(list(folder.trials.glob("*.json")))
    display.say()
    display.say(
        f"stopped: {kept} finished trials are kept in {folder.path}; the same command goes on from there"
    )


def trials_table(records: list[TrialRecord], base_reward: float) -> Table:
    """One row a trial, and the base model's reward as the line to compare with."""
    table = Table(title="trials", caption=f"base model: reward {base_reward:.4f}")
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
