"""Rewards at the base model's length: what length alone does is taken out, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from factories import planned, record

from search.fit.length_control import control_length
from search.trials.record import TrialRecord
from trainers.spec import SeedResult

PROMPTS = 60


def result(seed: int, lengths: np.ndarray, rewards: np.ndarray) -> SeedResult:
    return SeedResult(
        seed=seed,
        reward=float(rewards.mean()),
        rewards=tuple(rewards.tolist()),
        answers=tuple("x" * int(length) for length in lengths),
    )


def study(
    slope: float, *, quality: tuple[float, ...] = (0.0, 0.0, 0.05)
) -> tuple[list[TrialRecord], SeedResult]:
    """Three trials of two seeds; the policies write ever longer, and are better by `quality`."""
    generator = np.random.default_rng(1)
    hard, base = generator.normal(0, 0.1, PROMPTS), generator.integers(60, 200, PROMPTS)
    differences = [
        np.maximum(generator.normal(20 * number, 30, PROMPTS).round(), -50)
        for number in range(len(quality))
        for _ in range(2)
    ]
    unit = np.std(differences)
    found = []
    for number, better in enumerate(quality):
        results = []
        for seed in range(2):
            longer = differences[2 * number + seed]
            noise = generator.normal(0, 0.003, PROMPTS)
            rewards = 0.5 + hard + better + slope * np.tanh(longer / unit) + noise
            results.append(result(seed, base + longer, rewards))
        trial = record(planned(100 * (number + 1), 2), 0.5, 0.5)
        found.append(replace(trial, results=tuple(results)))
    return found, result(-1, base, 0.5 + hard)


def test_the_reward_of_length_alone_is_taken_out() -> None:
    records, base = study(0.1)
    found = control_length(records, base)
    assert found is not None and found.slope == pytest.approx(0.1, abs=0.005)
    assert found.interval_95[0] < 0.1 < found.interval_95[1]
    short, longer, better = (float(np.mean(found.rewards[r.trial])) for r in records)
    assert records[1].reward - records[0].reward > 0.02
    assert longer - short == pytest.approx(0, abs=0.004)
    assert better - short == pytest.approx(0.05, abs=0.004)


def test_without_a_reward_of_length_rewards_stay_as_they_are() -> None:
    records, base = study(0.0)
    found = control_length(records, base)
    assert found is not None and abs(found.slope) < 0.006
    for one in records:
        assert found.rewards[one.trial] == pytest.approx(one.rewards, abs=0.005)


def test_answers_as_long_as_the_base_models_change_nothing() -> None:
    records, base = study(0.1)
    same = [replace(r, results=tuple(replace(o, answers=base.answers) for o in r.results)) for r in records]
    found = control_length(same, base)
    assert found is not None and (found.slope, found.unit) == (0.0, 0.0)
    assert found.rewards[same[0].trial] == pytest.approx(same[0].rewards)


def test_trials_without_answers_are_left_out_and_none_is_no_ground() -> None:
    records, base = study(0.1)
    bare = replace(records[0], results=tuple(replace(o, answers=()) for o in records[0].results))
    found = control_length([bare, *records[1:]], base)
    assert found is not None and found.rewards.keys() == {r.trial for r in records[1:]}
    assert control_length([bare], base) is None and control_length(records, None) is None


def test_rewards_stay_within_their_scale() -> None:
    records, base = study(0.1)
    low = [replace(r, results=tuple(_less(o) for o in r.results)) for r in records]
    found = control_length(low, base)
    assert found is not None and min(min(each) for each in found.rewards.values()) == 0.0


def _less(result: SeedResult) -> SeedResult:
    return replace(result, rewards=tuple(reward - 0.6 for reward in result.rewards))
