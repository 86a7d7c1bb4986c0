"""The paper's published points as trials, and synthetic studies, for the tests of the statistics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from factories import planned, record

from benchmarks.paper import STUDIES
from search.fit.curve import DiversityCurve
from search.trials.record import TrialRecord
from search.trials.trials_csv import read_trials

SIZES = (1_500, 3_000, 6_000, 8_000, 12_000, 16_000, 24_000, 36_000)


def paper_trials(algorithm: str, most_prompts: int = 36_000) -> list[TrialRecord]:
    """Figure 4's points of `PRO` or `SFT` with at most `most_prompts` prompts."""
    trials = read_trials(STUDIES / f"song2024_{algorithm.lower()}.csv")
    return [trial for trial in trials if trial.prompts <= most_prompts]


def paper_curve() -> DiversityCurve:
    return DiversityCurve.from_trials(paper_trials("PRO"))


def like_paper_curve() -> DiversityCurve:
    """Diversity that grows with the logarithm of the number of prompts, at about the paper's pace."""
    return DiversityCurve(SIZES, tuple(12.7 + 2.55 * float(np.log(n / SIZES[0])) for n in SIZES))


def like_paper() -> list[TrialRecord]:
    """A made-up study of the paper's shape, a line per k on diversity: four responses win at the edge."""
    curve = like_paper_curve()
    levels, slopes = {2: 0.527, 3: 0.541, 4: 0.548}, {2: 0.0070, 3: 0.0062, 4: 0.0050}
    return [
        trial(n, k, (levels[k] + slopes[k] * (d - 18.0) + 0.0006 * (-1) ** (row + k),), diversity=d)
        for k in levels
        for row, (n, d) in enumerate(zip(curve.prompts, curve.diversity, strict=True))
    ]


def trial(
    prompts: int, responses: int, rewards: tuple[float, ...], diversity: float | None = None, **more: Any
) -> TrialRecord:
    """One trial whose diversity, unless given, is 2 log prompts."""
    fields = {name: more.pop(name) for name in ("selection", "strength", "hyperparameters") if name in more}
    drawn = planned(prompts, responses, range(len(rewards)), **fields)
    d = 2 * float(np.log(prompts)) if diversity is None else diversity
    return record(drawn, *rewards, key=more.pop("trial", f"{prompts}x{responses}"), diversity=d, **more)


def study(
    seed: int, noise: float = 0.005, seeds: int = 3, slope: float = 0.01, gain: float = 0.02
) -> list[TrialRecord]:
    """Three numbers of responses at three budget fractions, on lines in log prompts, with Gaussian noise."""
    generator = np.random.default_rng(seed)
    found = []
    for budget_fraction in (3_000, 6_000, 12_000):
        for k in (2, 3, 4):
            n = budget_fraction // k
            mean = 0.3 + slope * np.log(n / 1000) + gain * k
            found.append(trial(n, k, tuple(float(r) for r in mean + generator.normal(0, noise, seeds))))
    return found


def group(name: str, higher: float, seed: int) -> list[TrialRecord]:
    """A study like `study`, made elsewhere, as a group whose rewards lie `higher`."""
    return [
        replace(
            one,
            trial=f"{one.trial}-{name}".replace("/", "-"),
            group=name,
            earlier=dict.fromkeys(one.seeds, name),
            results=tuple(replace(result, reward=result.reward + higher) for result in one.results),
        )
        for one in study(seed)
    ]
