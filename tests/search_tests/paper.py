"""The paper's published points as trials, and small synthetic studies, for the tests of the statistics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from search.curve import DiversityCurve
from search.record import TrialRecord

SONG: dict[str, Any] = json.loads((Path(__file__).parent / "fixtures" / "song2024.json").read_text())
FIGURE: dict[str, Any] = SONG["figure4"]


def paper_trials(algorithm: str, most_prompts: int = 36_000) -> list[TrialRecord]:
    """Figure 4's points of `PRO` or `SFT` with at most `most_prompts` prompts."""
    return [
        TrialRecord(
            trial=f"{n}x{k}", prompts=n, responses=int(k), cost=n * int(k), diversity=d, seeds=(0,),
            rewards=(reward,),
        )
        for k, rewards in FIGURE["reward"][algorithm].items()
        for n, d, reward in zip(FIGURE["prompts"], FIGURE["diversity"], rewards, strict=True)
        if n <= most_prompts
    ]  # fmt: skip


def paper_curve() -> DiversityCurve:
    return DiversityCurve(tuple(FIGURE["prompts"]), tuple(FIGURE["diversity"]))


def trial(
    prompts: int, responses: int, rewards: tuple[float, ...], diversity: float | None = None, **more: Any
) -> TrialRecord:
    """One trial whose diversity, unless given, is 2 log prompts."""
    return TrialRecord(
        trial=more.pop("trial", f"{prompts}x{responses}"), prompts=prompts, responses=responses,
        cost=prompts * responses, diversity=2 * float(np.log(prompts)) if diversity is None else diversity,
        seeds=tuple(range(len(rewards))), rewards=rewards, **more,
    )  # fmt: skip


def study(
    seed: int, noise: float = 0.005, seeds: int = 3, slope: float = 0.01, gain: float = 0.02
) -> list[TrialRecord]:
    """Three numbers of responses at three spends, on lines in log prompts, with Gaussian noise."""
    generator = np.random.default_rng(seed)
    found = []
    for spend in (3_000, 6_000, 12_000):
        for k in (2, 3, 4):
            n = spend // k
            mean = 0.3 + slope * np.log(n / 1000) + gain * k
            found.append(trial(n, k, tuple(float(r) for r in mean + generator.normal(0, noise, seeds))))
    return found
