"""The command line of a study: what it refuses before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.cli import main


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What the command says when it refuses its arguments."""
    assert main(["study", *arguments]) == 2
    return capsys.readouterr().err


def test_resume_refuses_to_start_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "--resume", "--output-dir", str(tmp_path / "none"))
    assert "there is no study in" in said and "--resume" in said


def test_resume_and_fresh_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert "give one of them" in refused(capsys, "--resume", "--fresh")


def test_a_space_on_the_command_line_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "--search.space", "{trainer.learning_rat: {low: 1e-6, high: 1e-4}}")
    assert 'did you mean "trainer.learning_rate"' in said
    assert "low 2 is not below high 1" in refused(
        capsys, "--search.space", "{trainer.learning_rate: {low: 2, high: 1}}"
    )


def test_a_misspelt_option_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    for argv, nearest in (
        (["study", "--trainer.learningrate", "3"], "--trainer.learning_rate"),
        (["pool", "make", "p.jsonl", "--output", "o.jsonl", "--max-cots", "3"], "--max-cost"),
    ):
        with pytest.raises(SystemExit) as exit:
            main(argv)
        assert exit.value.code == 2
        assert f'did you mean "{nearest}"?' in capsys.readouterr().err


def test_a_value_is_quoted_as_it_was_typed(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "--budget", "no", "--search.seeds", "1e9x")
    assert "budget = 'no'" in said and "search.seeds = '1e9x'" in said
