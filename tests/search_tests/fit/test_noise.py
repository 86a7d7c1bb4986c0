"""The noise budget: its components are recovered, and its intervals hold them, on simulated trainings."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from search.fit.noise import FEWEST_DF, held_out_part, noise_budget

DRAW, TRAINING, JUDGING = 0.02, 0.03, 0.3  # standard deviations; JUDGING is that of one prompt
POINTS, SEEDS, PROMPTS = 12, 4, 60


def simulated(
    generator: np.random.Generator, share: bool = True, suits: float = 0.0
) -> dict[tuple[str, int], NDArray[np.float64]]:
    """Trainings of POINTS design points with SEEDS seeds each, on PROMPTS held-out prompts.

    How well a prompt suits a design point, whatever the seed, deviates by `suits`.
    """
    hard, drawn = generator.normal(0.5, 0.2, PROMPTS), generator.normal(0, DRAW, SEEDS)
    found = {}
    for point in range(POINTS):
        level = generator.normal(0, 0.05) + generator.normal(0, suits, PROMPTS)
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


def test_what_splits_with_different_seeds_differ_by_holds_the_draw_too() -> None:
    generator, found = np.random.default_rng(4), []
    for _ in range(60):
        budget = noise_budget(simulated(generator))
        assert budget is not None
        found.append((budget.of_difference, budget.apart))
    rest = TRAINING**2 + JUDGING**2 / PROMPTS
    np.testing.assert_allclose(np.mean(found, axis=0), [2 * rest, 2 * (rest + DRAW**2)], rtol=0.1)


def test_too_few_repeated_trainings_are_no_known_budget() -> None:
    every = simulated(np.random.default_rng(5))
    two = noise_budget({name: r for name, r in every.items() if name[0] in ("p0", "p1") and name[1] < 3})
    three = noise_budget(
        {name: r for name, r in every.items() if name[0] in ("p0", "p1", "p2") and name[1] < 3}
    )
    assert two is not None and two.training.df == 2 and not two.known
    assert three is not None and three.training.df == FEWEST_DF and three.known
    assert three.draw is not None and not three.draw.known  # three seeds are three draws


@pytest.mark.parametrize("suits", [0.0, 0.2])
@pytest.mark.parametrize("points", [("p0", "p1"), ()])
def test_what_held_out_prompts_give_a_gap_is_recovered_whatever_the_seeds(
    suits: float, points: tuple[str, ...]
) -> None:
    generator, truth = np.random.default_rng(6), 2 * suits**2 / PROMPTS
    parts = [held_out_part(simulated(generator, suits=suits), points, seed=n) for n in range(60)]
    found = [part for part in parts if part is not None]
    assert len(found) == 60
    # Of none at all half of the estimates are cut off at 0.
    np.testing.assert_allclose(np.mean([part.variance for part in found]), truth, rtol=0.15, atol=2e-4)
    covered = [part.interval_95[0] <= truth <= part.interval_95[1] for part in found]
    assert np.mean(covered) >= 0.9
    assert (np.mean([part.interval_95[0] > 0 for part in found]) > 0.9) == (suits > 0)


def test_a_gap_tells_nothing_of_held_out_prompts_without_two_shared_seeds() -> None:
    apart = simulated(np.random.default_rng(7), share=False)
    assert held_out_part(apart, ("p0", "p1")) is None and held_out_part(apart) is None
    assert held_out_part(simulated(np.random.default_rng(7)), ("p0", "absent")) is None
