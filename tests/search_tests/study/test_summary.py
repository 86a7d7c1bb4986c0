"""The last screen of a study: the answer first, all of it on 30 lines of 100 columns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support.paper import group, study, trial
from support.tracked_studies import Study, nowhere

from search.advice.analysis import analyse
from search.config.cost import CostModel
from search.fit.curve import DiversityCurve
from search.fit.question import Question
from search.study.ledger import Ledger
from search.study.summary import show_result
from search.terminal.display import Display
from search.trials.attempts import Attempts
from search.trials.record import TrialRecord


def screen(
    tmp_path: Path, records: list[TrialRecord], failures: int = 0, reason: str = "a reason" * 10
) -> list[str]:
    tmp_path.mkdir(exist_ok=True)
    console = Console(record=True, width=100, force_terminal=True, file=(tmp_path / "terminal").open("w"))
    kept = Study(tmp_path / "study")
    for record in records:
        kept.folder.save(record)
    ledger = Ledger(kept.config, kept.folder, Display(console), nowhere(), Attempts(tmp_path, "study"))
    ledger.failures = {f"{n} x 2": reason for n in range(failures)}
    question = Question(12_000, CostModel(), DiversityCurve.from_trials(records), (2, 3, 4), None)
    found = analyse("a study", records, question, base_reward=0.3)
    show_result(ledger.display, found, ledger)
    return [
        line[start : start + 100] for line in console.export_text().splitlines() for start in starts(line)
    ]


def starts(line: str) -> range:
    return range(0, max(len(line), 1), 100)


@pytest.mark.parametrize("failures", [0, 5])
def test_the_last_screen_begins_with_the_answer_and_fits_thirty_lines(tmp_path: Path, failures: int) -> None:
    earlier = [replace(r, earlier=dict.fromkeys(r.seeds, "runs/theirs")) for r in study(1)]
    own = [
        trial(n, k, (0.37, 0.372)) for n, k in ((2_000, 3), (2_500, 4), (1_700, 2), (5_000, 2), (1_800, 4))
    ]
    lines = screen(tmp_path, [*earlier, *own], failures)
    assert len(lines) <= 30, "\n".join(lines)
    assert lines[1].startswith(("With 12,000 annotations label", "Spend "))
    text = "\n".join(lines)
    assert "best trials" in text and "report.html" in text
    assert "The earlier trials alone predicted" in text and "observed" in text


def test_how_much_higher_a_group_lies_is_said_where_there_is_room(tmp_path: Path) -> None:
    records = [*study(1), *group("runs/theirs", 0.05, 2)]
    lines = screen(tmp_path, records)
    assert len(lines) <= 30 and any(line.startswith("Trials of runs/theirs lie 0.0") for line in lines)
    lines = screen(tmp_path / "long", records, failures=2, reason="a long reason " * 60)
    assert not any(line.startswith("Trials of runs/theirs") for line in lines)


def test_other_advice_by_another_reward_stands_beneath_the_answer(tmp_path: Path) -> None:
    def judged(found: TrialRecord) -> TrialRecord:
        other = 1 - found.responses / 10
        return replace(
            found,
            results=tuple(
                replace(r, further_rewards={"hf (org/other)": other + r.seed / 1000}) for r in found.results
            ),
        )

    lines = screen(tmp_path, [judged(record) for record in study(1)])
    assert len(lines) <= 30, "\n".join(lines)
    text = " ".join("".join(lines[:12]).split())
    assert "By hf (org/other) the advice changes: " in text and "Kendall's tau" in text


def test_a_study_without_an_answer_says_why_first(tmp_path: Path) -> None:
    lines = screen(tmp_path, [trial(1_000, 2, (0.4, 0.4))])
    assert lines[1].startswith("No recommendation: 1 trial is no ground")
