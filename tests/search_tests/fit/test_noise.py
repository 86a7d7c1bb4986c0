"""The noise budget: its components are recovered, and its intervals hold them, on simulated trainings."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from search.fit.noise import noise_budget

DRAW, TRAINING, JUDGING = 0.02, 0.03, 0.3  # standard deviations; JUDGING is that of one prompt
POINTS, SEEDS, PROMPTS = 12, 4, 60


def simulated(
    generator: np.random.Generator, share: bool = True
) -> dict[tuple[str, int], NDArray[np.float64]]:
    """Trainings of POINTS design points with SEEDS seeds each, on PROMPTS held-out prompts."""
    hard, drawn = generator.normal(0.5, 0.2, PROMPTS), generator.normal(0, DRAW, SEEDS)
    found = {}
    for point in range(POINTS):
        level = generator.normal(0, 0.05)
        for seed in range(SEEDS):
            rest = level + drawn[seed] + generator.normal(0, TRAINING)
            number = seed if share else point * SEEDS + seed
            found[f"p{point}", number] = hard + rest + generator.normal(0, JUDGING, PROMPTS)
    return found


def test_components_are_recovered_and_intervals_cover_them() -> None:
    generator, truth = np.random.default_rng(0), np.array([DRAW**2, TRAINING**2, JUDGING**2 / PROMPTS])
    estimates, covered = [], []
    for study in range(100):
        found = noise_budget(simulated(generator), seed=study)
        assert found is not None and found.draw is not None
        parts = (found.draw, found.training, found.judging)
        estimates.append([part.variance for part in parts])
        covered.append([p.interval_95[0] <= t <= p.interval_95[1] for p, t in zip(parts, truth, strict=True)])
    np.testing.assert_allclose(np.mean(estimates, axis=0), truth, rtol=0.25)
    assert (np.mean(covered, axis=0) >= 0.9).all()


def test_seeds_that_no_two_design_points_share_leave_the_draw_within_the_training() -> None:
    found = noise_budget(simulated(np.random.default_rng(1), share=False))
    assert found is not None and found.draw is None
    assert found.training.variance == pytest.approx(DRAW**2 + TRAINING**2, rel=0.6)


def test_single_seeds_give_no_budget() -> None:
    one = {name: rewards for name, rewards in simulated(np.random.default_rng(2)).items() if name[1] == 0}
    assert noise_budget(one) is None and noise_budget({}) is None


def test_the_difference_of_splits_with_one_seed_is_free_of_the_draw() -> None:
    found = noise_budget(simulated(np.random.default_rng(3)))
    assert found is not None and found.draw is not None
    assert found.of_difference == pytest.approx(2 * (found.total - found.draw.variance))
