"""Trials of a made-up study that varied raters."""

from __future__ import annotations

import numpy as np
from factories import planned, record

from search.fit.curve import DiversityCurve
from search.trials.record import TrialRecord

CURVE = DiversityCurve((10, 100, 1_000, 10_000), (4.0, 8.0, 12.0, 16.0))
BUDGET = 4_800


def trials(
    gain: float, raters: tuple[int | None, ...] = (1, 3), agreement: float | None = 0.75
) -> list[TrialRecord]:
    """Rewards on lines in log prompts, `gain` for each doubling of raters, a little noise."""
    generator, found = np.random.default_rng(4), []
    for r in raters:
        for k in (2, 4):
            for fraction in (0.25, 0.5, 1.0):
                n = int(fraction * BUDGET / k / (r or 1))
                truth = 0.4 + 0.004 * k + 0.01 * np.log(n / 1000) + gain * np.log2(r or 1)
                trial = planned(n, k, (0, 1, 2), raters=r, agreement=agreement, budget_fraction=fraction)
                rewards = truth + generator.normal(0, 0.001, 3)
                found.append(record(trial, *rewards, cost=n * k * (r or 1), diversity=CURVE.at(n)))
    return found
