"""What a training says it costs."""

from __future__ import annotations

import sys
import time

import pytest
import torch

from trainers.policy.batching import Ranking, collate
from trainers.training.loop import Training
from trainers.training.telemetry import Stopwatch, padded_tokens, peak_memory, reset_peak_memory, summed


def test_seconds_go_to_the_phase_that_ends_and_pauses_to_none() -> None:
    watch = Stopwatch("cpu")
    for _ in range(2):
        time.sleep(0.03)
        watch.start()
        time.sleep(0.01)
        watch.lap("data")
        time.sleep(0.02)
        watch.lap("step")
    seconds = watch.read()
    assert seconds["data"] == pytest.approx(0.02, abs=0.01) and seconds["step"] == pytest.approx(
        0.04, abs=0.015
    )
    assert watch.read() == {}


def test_padding_is_what_rows_lack_of_the_longest() -> None:
    # A response takes a row with its prompt, without its last token: rows of 4, 2 and 5.
    short = Ranking([3, 4], ([5, 6, 7], [8]), (1.0, 0.0))
    long = Ranking([3, 4, 5], ([6, 7, 8],), (1.0,))
    assert padded_tokens(collate([short, long])) == (1 + 3, 15)


def test_memory_is_in_gibibytes() -> None:
    before = peak_memory("cpu")
    assert 0.05 < before < 100
    torch.ones(2**26).sum()  # a quarter of one
    assert peak_memory("cpu") >= max(before, 0.25)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets a peak")
def test_a_peak_is_that_of_one_trial() -> None:
    torch.ones(2**28).sum()  # one
    peak = peak_memory("cpu")
    reset_peak_memory("cpu")
    assert peak_memory("cpu") < peak - 0.5


def test_trainings_add_up_by_what_their_figures_are() -> None:
    rows = [
        {"seconds_step": 1.0, "peak_memory_gib": 3.0, "padding": 0.2, "tokens_per_second": 10.0},
        {"seconds_step": 2.0, "peak_memory_gib": 2.0, "padding": 0.4, "tokens_per_second": 30.0},
    ]
    assert summed(rows) == {
        "seconds_step": 3.0,
        "peak_memory_gib": 3.0,
        "padding": pytest.approx(0.3),
        "tokens_per_second": 20.0,
    }
    assert summed([]) == {}


def test_notes_of_one_step_share_a_row() -> None:
    training = Training(step=3)
    training.record({"loss": 1.0})
    training.record({"dev_reward": 0.5})
    training.step = 4
    training.record({"dev_reward": 0.25})
    assert training.history == [
        {"step": 3.0, "loss": 1.0, "dev_reward": 0.5},
        {"step": 4.0, "dev_reward": 0.25},
    ]
