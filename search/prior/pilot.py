"""The pilot worth buying before the split is chosen: expected value of sample information."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import floor

import numpy as np

from search.config.cost import CostModel, Split, feasible_splits
from search.prior.hierarchy import Prior
from search.prior.shape import Floats, rows

SHARES = (0.05, 0.1, 0.15, 0.2, 0.35)  # of the budget, spent on the pilot's labels
# The shape is a straight line in log prompts; a trial this many times smaller than the split in question
# would rest on that alone.
REACH = 32
SEEDS = 2
SMALLEST = 8  # prompts of a pilot's smallest trial
DRAWS = 4000


@dataclass(frozen=True)
class Pilot:
    """Trials to run first, on labels that the final split then uses.

    `labelled` is what is bought; every trial draws its prompts and responses from it. Losses are expected
    rewards missed against knowing the best split: choosing now, and choosing after the pilot, whose unused
    responses then lack in the final split.
    """

    labelled: Split
    trials: tuple[Split, ...]
    seeds: int
    cost: float
    loss_now: float
    loss_after: float

    @property
    def gain(self) -> float:
        """Expected value of the pilot, its wasted labels paid (reward)."""
        return self.loss_now - self.loss_after


def best_pilot(
    prior: Prior,
    *,
    budget: float,
    cost_model: CostModel,
    responses: Sequence[int],
    max_prompts: int | None,
    seed: int = 0,
) -> Pilot | None:
    """The pilot with the largest expected gain; None where none is expected to gain anything.

    Preposterior analysis (Raiffa and Schlaifer 1961): under a normal belief with covariance S a pilot leaves
    S', whatever it finds, and moves the expected shape by a normal step with covariance S - S'.
    """
    splits = feasible_splits(cost_model, budget, responses=responses, max_prompts=max_prompts)
    if len(splits) < 2:
        return None
    normal = np.random.default_rng(seed).standard_normal((DRAWS, 4))
    known = _expected_best(rows(splits), prior.mean, prior.covariance, normal)
    now = known - float((rows(splits) @ prior.mean).max())
    found = [
        Pilot(
            labelled, trials, SEEDS, cost_model.cost(labelled.prompts, labelled.responses), now, known - after
        )
        for labelled, trials in _designs(cost_model, budget, responses, max_prompts)
        if (after := _after(prior, labelled, trials, splits, budget, cost_model, normal)) is not None
    ]
    best = max(found, key=lambda pilot: pilot.gain, default=None)
    return best if best is not None and best.gain > 0 else None


def _designs(
    cost_model: CostModel, budget: float, responses: Sequence[int], max_prompts: int | None
) -> Iterator[tuple[Split, tuple[Split, ...]]]:
    """What may be labelled, and the trials on it: three numbers of responses at a whole and a quarter."""
    whole = feasible_splits(cost_model, budget, responses=responses, max_prompts=max_prompts)
    smallest = max(SMALLEST, min(split.prompts for split in whole) / REACH)
    for share in SHARES:
        for most in sorted(set(responses))[1:]:
            for labelled in feasible_splits(
                cost_model, share * budget, responses=[most], max_prompts=max_prompts
            ):
                tried = sorted({k for k in responses if k <= most})
                levels = sorted({tried[0], tried[len(tried) // 2], tried[-1]})
                sizes = (labelled.prompts // 4, labelled.prompts)
                if sizes[0] >= smallest:
                    yield labelled, tuple(Split(n, k) for n in sizes for k in levels)


def _after(
    prior: Prior,
    labelled: Split,
    trials: Sequence[Split],
    splits: Sequence[Split],
    budget: float,
    cost_model: CostModel,
    normal: Floats,
) -> float | None:
    """Expected reward of the split that is chosen after the pilot; None where it leaves too little money."""
    left = [_remaining(split, labelled, budget, cost_model) for split in splits]
    final = [split for split in left if split.prompts >= max(labelled.prompts, 1)]
    if not final:
        return None
    x = rows(trials)
    covariance = prior.covariance
    within = x @ covariance @ x.T + np.eye(len(x)) * prior.seed_variance / SEEDS
    moved = covariance @ x.T @ np.linalg.solve(within, x @ covariance)
    return _expected_best(rows(final), prior.mean, moved, normal)


def _remaining(split: Split, labelled: Split, budget: float, cost_model: CostModel) -> Split:
    """The split that the budget still pays for with as many responses, the pilot's labels being bought.

    Responses of the pilot beyond it are lost; those that it lacks are bought besides.
    """
    bought = cost_model.cost(labelled.prompts, labelled.responses)
    used = cost_model.cost(labelled.prompts, min(labelled.responses, split.responses))
    each = cost_model.cost_per_prompt(split.responses)
    affordable = floor((budget - bought + used) / each * (1 + 1e-12)) if each > 0 else split.prompts
    return Split(min(split.prompts, affordable), split.responses)


def _expected_best(x: Floats, mean: Floats, covariance: Floats, normal: Floats) -> float:
    """E max over the rows of x of x @ shape, for shape normal with this mean and covariance."""
    values, vectors = np.linalg.eigh(covariance)
    step = normal * np.sqrt(np.maximum(values, 0)) @ vectors.T
    # Antithetic pairs leave the mean of a single split exact.
    rewards = np.concatenate([mean + step, mean - step]) @ x.T
    return float(rewards.max(axis=1).mean())
