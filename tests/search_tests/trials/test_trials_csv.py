from __future__ import annotations

from pathlib import Path

import pytest
from factories import planned, record

from base.errors import InsufficientDataError
from search.trials.trials_csv import read_trials, write_trials

HEAD = "prompts,responses,diversity,reward\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "trials.csv"
    path.write_text(text)
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    kept = {"rewards": (), "answers": ()}  # what a row does not hold
    one, other = planned(100, 2), planned(100, 2, (0,), selection="diverse", strength=0.5)
    trials = [
        record(one, 0.25, 0.5, key="one", diversity=9.2, baselines={"entropy": 9.5},
               domain_rewards={"code, hard": 0.4}, further_rewards={"hf (a)": 0.75}, seconds=1.5, **kept),
        record(other, 0.125, key="other", diversity=9.2, baselines={"entropy": 9.75},
               trained_tokens=7, **kept),
    ]  # fmt: skip
    write_trials(tmp_path / "t.csv", trials)
    assert read_trials(tmp_path / "t.csv") == trials


def test_four_columns_are_enough_and_equal_rows_are_seeds(tmp_path: Path) -> None:
    first, second = read_trials(written(tmp_path, HEAD + "100,2,3.5,0.4\n50,4,3.0,0.5\n100,2,3.5,0.6\n"))
    assert (first.prompts, first.responses, first.rewards, first.seeds) == (100, 2, (0.4, 0.6), (0, 1))
    assert (second.prompts, second.cost, second.selection) == (50, 200, "random")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("100,2,3.5,nan", "line 2, column reward: 'nan' is not finite"),
        ("100,2,x,0.5", "line 2, column diversity: 'x' is not a number"),
        ("100,0,3.5,0.5", "line 2, column responses: '0' is not a count"),
        ("1.5,2,3.5,0.5", "line 2, column prompts: '1.5' is not a count"),
        ("100,2,3.5,", "line 2, column reward: '' is not a number"),
        ("100,2,3.5,0.5,9", "line 2: more values than columns"),
    ],
)
def test_a_bad_value_is_named_by_line_and_column(tmp_path: Path, row: str, complaint: str) -> None:
    with pytest.raises(InsufficientDataError, match=complaint):
        read_trials(written(tmp_path, HEAD + row + "\n"))


def test_missing_columns_file_and_rows(tmp_path: Path) -> None:
    with pytest.raises(InsufficientDataError, match="no column diversity, reward"):
        read_trials(written(tmp_path, "prompts,responses\n1,2\n"))
    with pytest.raises(InsufficientDataError, match="only a heading"):
        read_trials(written(tmp_path, HEAD))
    with pytest.raises(InsufficientDataError, match="cannot read"):
        read_trials(tmp_path / "none.csv")
