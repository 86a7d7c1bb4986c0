"""What a study shows while it runs, in a terminal that can be drawn on and where there is none."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from factories import planned, record
from rich.console import Console

from search.execution.board import Board
from search.terminal import display as display_module
from search.terminal.display import Display
from search.terminal.live import Rows, Running, Standing, drawn, facts, notes, time_left

HEIGHT, HIDE, SHOW = 12, "\x1b[?25l", "\x1b[?25h"
STANDING = Standing(
    finished=2,
    failed=1,
    trials=24,
    best=("24 x 4", 0.53125),
    base_reward=0.5,
    belief="24 x 4 leads 12 x 8 by 0.0130",
    running=[
        Running(label="16 x 2", seeds=(4, 7), seconds=75.2),
        Running(label="48 x 2 [narrow]", seeds=(4, 7), seconds=3.0),
    ],
    seconds_left=700.0,
)
ROWS: Rows = {
    "16 x 2": {"seed": 7.0, "step": 15.0, "steps": 30.0, "loss": 1.25, "seeds_done": 1, "reward": 0.4}
}


class Watched:
    """A display on a console of its own, which looks a hundred times a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> None:
        monkeypatch.setattr(display_module, "LIVE_EVERY_S", 0.01)
        monkeypatch.setattr(display_module, "PLAIN_EVERY_S", 0.01)
        self.stream = io.StringIO()
        console = Console(
            file=self.stream, force_terminal=terminal, force_interactive=terminal, width=120, height=HEIGHT
        )
        self.display = Display(console)
        self.standing, self.rows = STANDING, dict(ROWS)
        self.reads = threading.Semaphore(0)

    def look(self) -> Standing:
        self.reads.release()
        return self.standing

    def looked(self, times: int = 3) -> None:
        """Wait for so many looks from now on: the last but one is drawn, and saw what stands now."""
        self.reads = threading.Semaphore(0)
        for _ in range(times):
            assert self.reads.acquire(timeout=5)

    @property
    def written(self) -> str:
        return self.stream.getvalue()

    def screen(self) -> list[str]:
        """What stands on a terminal that was sent this, and in the lines that have left it at its top."""
        lines, at = [""], 0
        for part in re.split(r"(\x1b\[[?\d;]*[A-Za-z]|[\r\n])", self.written):
            if part == "\n":
                at += 1
                lines += [""] * (at == len(lines))
            elif part == "\x1b[1A":
                at = max(at - 1, len(lines) - HEIGHT, 0)
            elif part == "\x1b[2K":
                lines[at] = ""
            elif part and part != "\r" and not part.startswith("\x1b"):
                lines[at] += part
        return [line.rstrip() for line in lines if line.strip()]


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch, terminal=False)


@pytest.fixture
def live(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch, terminal=True)


def picture(standing: Standing, rows: Rows | None) -> str:
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(drawn(standing, rows))
    return console.export_text()


def test_the_view_holds_the_study_and_its_running_trials() -> None:
    lines = [line.strip() for line in picture(STANDING, ROWS).splitlines()]
    assert lines[:3] == [
        "2 of 24 trials finished, 1 failed; at most about 12 min left",
        "best reward so far 0.5312 (24 x 4); base model 0.5000",
        "belief: 24 x 4 leads 12 x 8 by 0.0130",
    ]
    note = "seed 2 of 2, step 15 of 30, loss 1.250, reward 0.4000 (1 seed)"
    assert lines[3].startswith("16 x 2 ") and lines[3].endswith(f"1:15  {note}")
    assert lines[4].startswith("48 x 2 [narrow] ") and lines[4].endswith("0:03  starting")
    assert len(lines) == 5


def test_the_fit_of_a_reward_model_is_followed_until_it_is_done() -> None:
    standing = replace(STANDING, running=[])
    fitting: Rows = {"base model": {"fitted": 0.414}}
    assert notes(standing, fitting) == {"base model": "base model: fitting the reward model, 41%"}
    assert "fitting the reward model, 41%" in picture(standing, fitting)
    assert not notes(standing, {"base model": {"fitted": 1.0}}) and not notes(standing, {})


def test_nothing_is_said_of_what_is_not_known() -> None:
    fresh = Standing(
        finished=0, failed=0, trials=4, best=None, base_reward=0.5, belief="", running=[], seconds_left=None
    )
    assert picture(fresh, {}).split("\n")[0].rstrip() == "  0 of 4 trials finished"
    assert "starting" not in picture(STANDING, None)


def test_a_row_left_by_an_earlier_trial_of_the_same_point_is_not_this_trials() -> None:
    stale = {"16 x 2": {**ROWS["16 x 2"], "seed": 0.0}}
    assert notes(STANDING, stale) == {}


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(1, "1 min"), (61, "2 min"), (3600, "1 h 0 min"), (12_000, "3 h 20 min"), (190_000, "2 d 4 h"), (0, "")],
)
def test_time_left_is_rounded_up(seconds: float, words: str) -> None:
    assert time_left(replace(STANDING, seconds_left=seconds)) == (
        f"; at most about {words} left" if words else ""
    )


def test_the_board_keeps_what_was_told_of_the_trial_when_the_next_seed_begins() -> None:
    board = Board()
    board.update("a", {"seed": 0.0, "step": 1.0, "steps": 2.0, "loss": 1.0})
    board.update("a", {"dev_reward": 0.25})
    board.update("a", {"seed": 0.0, "step": 2.0, "steps": 2.0, "loss": 0.5})
    assert board.read()["a"] == {"seed": 0.0, "step": 2.0, "steps": 2.0, "loss": 0.5, "dev_reward": 0.25}
    board.update("a", {"seeds_done": 1.0, "reward": 0.5})
    board.update("a", {"seed": 1.0, "step": 1.0, "steps": 2.0, "loss": 2.0})
    assert board.read()["a"] == {
        "seed": 1.0, "step": 1.0, "steps": 2.0, "loss": 2.0, "seeds_done": 1.0, "reward": 0.5
    }  # fmt: skip
    board.forget("a")
    assert board.read() == {}


def test_plain_lines_say_the_same_and_nothing_twice(plain: Watched) -> None:
    with plain.display.watching(plain.look, lambda: plain.rows):
        plain.looked()
        plain.standing = replace(STANDING, seconds_left=30.0)  # alone no news
        plain.looked()
        plain.standing = replace(STANDING, finished=3, running=STANDING.running[1:])
        plain.looked()
    assert plain.written.splitlines() == [
        "  2 of 24 trials finished, 1 failed; at most about 12 min left",
        "  best reward so far 0.5312 (24 x 4); base model 0.5000",
        "  belief: 24 x 4 leads 12 x 8 by 0.0130",
        "  16 x 2: seed 2 of 2, step 15 of 30, loss 1.250, reward 0.4000 (1 seed)",
        "  3 of 24 trials finished, 1 failed; at most about 12 min left",
    ]
    assert set(facts(STANDING).values()) < {
        line.strip().split("; at most")[0] for line in plain.written.splitlines()
    }


def test_what_cannot_be_read_is_not_shown_and_ends_nothing(plain: Watched, live: Watched) -> None:
    def fails() -> Rows:
        raise TimeoutError("the board does not answer")

    for watched in (plain, live):
        with watched.display.watching(watched.look, fails):
            watched.looked()
        assert "2 of 24 trials" in watched.written and "board" not in watched.written
        assert "step" not in watched.written
        with watched.display.watching(_never, fails):
            pass


def _never() -> Standing:
    raise RuntimeError


def test_messages_stay_above_the_view_and_the_row_of_an_ended_trial_leaves_it(live: Watched) -> None:
    with live.display.watching(live.look, lambda: live.rows):
        live.looked()
        live.display.say("a message of one line")
        live.looked()
        seen = live.screen()
        assert seen[0] == "a message of one line" and seen[1].startswith("  2 of 24 trials")
        assert seen[4].startswith("  16 x 2 ") and len(seen) == 6
        live.standing = replace(STANDING, finished=3, running=STANDING.running[1:])
        live.looked()
        seen = live.screen()
        assert seen[1].startswith("  3 of 24 trials") and seen[4].startswith("  48 x 2 [narrow]")
        assert len(seen) == 5
    assert live.screen() == ["a message of one line"]


def test_an_interrupt_leaves_a_clean_terminal_also_where_the_view_is_higher_than_it(live: Watched) -> None:
    crowd = [Running(label=f"{n} x 2", seeds=(0,), seconds=1.0) for n in range(2 * HEIGHT)]
    live.standing = replace(STANDING, running=crowd)
    with pytest.raises(KeyboardInterrupt), live.display.watching(live.look, lambda: live.rows):
        live.display.say("before")
        live.looked()
        assert len(live.screen()) <= HEIGHT + 1 and "trials finished" in live.screen()[1]
        raise KeyboardInterrupt
    live.display.say("after")
    assert live.screen() == ["before", "after"]
    assert live.written.count(HIDE) == live.written.count(SHOW) == 1
    assert live.written.index(HIDE) < live.written.index(SHOW)


def test_a_board_that_hangs_does_not_keep_the_terminal(live: Watched) -> None:
    hangs = threading.Event()
    with live.display.watching(live.look, lambda: {} if hangs.wait(1) else {}):
        live.looked(1)
        hangs.set()
    assert SHOW in live.written and live.screen() == []


class Gone(io.StringIO):
    """A terminal or a log whose disk or reader is gone."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), OSError(5, "Input/output error")])
@pytest.mark.parametrize("terminal", [False, True])
def test_an_output_that_takes_nothing_more_ends_nothing(error: OSError, terminal: bool) -> None:
    display = Display(Console(file=Gone(error), force_terminal=terminal, force_interactive=terminal))
    display.say("anything")
    with display.watching(lambda: STANDING, dict):
        display.say("anything")


def test_a_closed_pipe_and_an_old_encoding_end_nothing() -> None:
    code = (
        "from search.terminal.display import Display; d = Display(); "
        "d.say('± 0.1'); d.say('x' * 99999); d.say('y')"
    )
    told = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print('alive', file=sys.stderr)"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"}, stdout=_closed(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert told.stderr.startswith("alive")


def _closed() -> int:
    read, write = os.pipe()
    os.close(read)
    return write


def test_the_results_of_seeds_that_ended_are_fetched_once() -> None:
    board, results = Board(), record(planned(4, 2), 0.4, 0.6).results
    board.seed_ended("trial-abc", results[0])
    assert board.ended_seeds() == [("trial-abc", results[0])] and board.ended_seeds() == []
    board.seed_ended("trial-abc", results[1])
    assert board.ended_seeds() == [("trial-abc", results[1])]
