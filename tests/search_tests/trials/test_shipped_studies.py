"""The studies that ship: the published figures, and how they are found."""

from pathlib import Path

import pytest

from base.errors import InsufficientDataError
from benchmarks.paper import STUDIES, paper_figures
from search.cli import main
from search.trials.shipped import find_trials
from search.trials.trials_csv import read_trials


@pytest.mark.parametrize("name", ["song2024_pro", "song2024_sft"])
def test_figure_4_has_24_trials_of_one_seed(name: str) -> None:
    trials = read_trials(STUDIES / f"{name}.csv")
    assert {(trial.prompts, trial.responses) for trial in trials} == {
        (n, k) for n in (1500, 2000, 3000, 6000, 12000, 16000, 24000, 36000) for k in (2, 3, 4)
    }
    assert all(len(trial.rewards) == 1 and trial.cost == trial.prompts * trial.responses for trial in trials)


def test_published_figures_stand_where_the_paper_has_them() -> None:
    figures = paper_figures()
    assert figures["figure4"]["prompts"][:3] == [1500, 2000, 3000]
    assert figures["figure4"]["reward"]["PRO"]["4"][6] == 0.5594
    assert figures["figure4"]["reward"]["SFT"]["2"][0] == 0.4984
    rows = figures["table1"]["rows"]
    assert len(rows) == 6
    assert rows["PRO, OPT-1.3B, Harmless"]["24000"]["4"] == [59.24, 58.98, 59.92]
    assert rows["SFT, LLaMA-7B, Global"]["3000"]["2"] == [52.78, 53.03, 53.80]


@pytest.mark.parametrize("given", ["studies/song2024_pro.csv", "song2024_pro.csv", "song2024_pro"])
def test_a_shipped_study_is_found_from_anywhere(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_trials(Path(given)) == STUDIES / "song2024_pro.csv"


def test_a_file_of_ones_own_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "song2024_pro").write_text("mine")
    assert find_trials(Path("song2024_pro")) == Path("song2024_pro")


@pytest.mark.parametrize("given", ["nothing.csv", "elsewhere/song2024_pro.csv"])
def test_what_does_not_ship_is_refused_with_what_does(given: str) -> None:
    with pytest.raises(
        InsufficientDataError, match="neither .*song2024_pro, song2024_pro_llama7b_global, .*song2024_sft, "
    ):
        find_trials(Path(given))


def test_the_first_try_answers(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recommend", "studies/song2024_pro.csv", "--budget", "48000"]) == 0
    assert "label 12,000 x 4" in capsys.readouterr().out
