"""Do the intervals cover, does the recommendation pay, and is it said when diversity does nothing?

    python -m benchmarks.coverage [--quick] [--studies 500]

Synthetic studies with known truth run through the product's own path (trial records, fit, recommendation).
A study has 3 numbers of responses x 4 budget fractions with random prompts and 6 more trials with chosen
prompts, 3 seeds each; its noise has the size of the paper's residuals. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks._simulated import simulated
from benchmarks.paper import paper_figures
from search.advice.recommend import recommend
from search.advice.recommendation import Recommendation
from search.config.cost import CostModel, Split, feasible_splits
from search.fit.curve import DiversityCurve
from search.fit.fit import fit_trials
from search.fit.observations import Floats
from search.fit.question import Question, predict
from search.trials.design_point import DesignPoint
from search.trials.record import TrialRecord

LARGEST_KNOWN = 12_000
RESPONSES = (2, 3, 4)
BUDGET = 48_000
FRACTIONS = (1 / 8, 1 / 4, 1 / 2, 1.0)
BUDGETS = {"tried": BUDGET, "between": 0.7 * BUDGET, "beyond": 1.5 * BUDGET}
SEEDS = 3
# Residual mean square of the paper's PRO lines is 2.6e-5, of points that average three seeds.
SEED_DEVIATION = (3 * 2.6e-5) ** 0.5
# Chosen prompts raise or lower D by this share at fixed n.
CHOSEN = {"diverse": 1.08, "narrow": 0.92}

Truth = Callable[[float, float, float], float]  # (prompts, responses, diversity) -> expected reward
Noise = Callable[[np.random.Generator, int], Floats]


@dataclass(frozen=True)
class Ground:
    """A family of truths: `draw` makes one study's, with gaps between k so small that any may win."""

    draw: Callable[[np.random.Generator], Truth]
    noise: Noise


def diversity_of(prompts: float) -> float:
    """A curve like the paper's: 12.7 at 1,500 prompts, 20.8 at 36,000, bending."""
    return float(np.interp(np.log(prompts), np.log([750, 1500, 3000, 6000, 12000, 24000, 36000, 72000]),
                           [10.3, 12.7, 14.9, 17.0, 18.9, 20.3, 20.8, 21.6]))  # fmt: skip


def _offsets(generator: np.random.Generator) -> dict[int, float]:
    """Rewards of each k at one size: rising by about what fewer prompts cost, so that no k wins always."""
    steps = generator.normal(0.009, 0.006, 2)
    return dict(zip(RESPONSES, np.concatenate([[0], np.cumsum(steps)]), strict=True))


def lines(generator: np.random.Generator) -> Truth:
    """A line on diversity for each k, slopes spread as in the paper."""
    offsets = _offsets(generator)
    slopes = {k: generator.uniform(0.0043, 0.0073) for k in RESPONSES}
    return lambda n, k, d: 0.52 + offsets[int(k)] + slopes[int(k)] * (d - 17)


def count_only(generator: np.random.Generator) -> Truth:
    """Lines on log prompts; at fixed prompts diversity does nothing."""
    offsets = _offsets(generator)
    slopes = {k: generator.uniform(0.011, 0.019) for k in RESPONSES}
    return lambda n, k, d: 0.52 + offsets[int(k)] + slopes[int(k)] * np.log(n / 6000)


def saturating(generator: np.random.Generator) -> Truth:
    """Power laws in both prompts and responses, with exponents that no candidate model has."""
    alpha, beta = generator.uniform(0.25, 0.7), generator.uniform(0.5, 2)
    gain, loss = generator.uniform(0.04, 0.12), generator.uniform(0.05, 0.09)
    return lambda n, k, d: 0.58 - loss * (n / 1500) ** -alpha - gain * k**-beta


def falling(generator: np.random.Generator) -> Truth:
    """More prompts lower the reward at every k, as where equally many steps visit each of them less often."""
    offsets = _offsets(generator)
    slopes = {k: generator.uniform(0.004, 0.014) for k in RESPONSES}
    return lambda n, k, d: 0.52 + offsets[int(k)] - slopes[int(k)] * np.log(n / 6000)


def peaked(generator: np.random.Generator) -> Truth:
    """Reward peaks at a number of prompts within the trials, a parabola in log prompts."""
    offsets = _offsets(generator)
    top, bend = generator.uniform(np.log(4000), np.log(9000)), generator.uniform(0.006, 0.02)
    return lambda n, k, d: 0.54 + offsets[int(k)] - bend * (np.log(n) - top) ** 2


def crossing(generator: np.random.Generator) -> Truth:
    """More prompts raise the reward of few responses and lower that of many."""
    offsets = _offsets(generator)
    slopes = {2: generator.uniform(0.005, 0.015), 3: 0.0, 4: generator.uniform(-0.015, -0.005)}
    return lambda n, k, d: 0.52 + offsets[int(k)] + slopes[int(k)] * np.log(n / 6000)


def normal(generator: np.random.Generator, count: int) -> Floats:
    return generator.normal(0, SEED_DEVIATION, count)


def heavy(generator: np.random.Generator, count: int) -> Floats:
    """Student's t with 3 degrees of freedom, at the same standard deviation."""
    return SEED_DEVIATION / 3**0.5 * generator.standard_t(3, count)


GROUNDS = {
    "lines": Ground(lines, normal),
    "count only": Ground(count_only, normal),
    "saturating": Ground(saturating, normal),
    "heavy tails": Ground(lines, heavy),
    "falling": Ground(falling, normal),
    "peaked": Ground(peaked, normal),
    "crossing": Ground(crossing, normal),
}

# Numbers that seed the grounds: those of the first four stay as grounds are added.
ORDER = [*sorted(("lines", "count only", "saturating", "heavy tails")), "falling", "peaked", "crossing"]


def trials_of(truth: Truth, noise: Noise, generator: np.random.Generator) -> list[TrialRecord]:
    """One study's trials: the grid of random ones, and chosen prompts at a quarter of the budget."""
    plan = [(round(s * BUDGET / k), k, "random", 1.0) for s in FRACTIONS for k in RESPONSES]
    plan += [(round(BUDGET / 4 / k), k, name, factor) for k in RESPONSES for name, factor in CHOSEN.items()]
    records = []
    for n, k, selection, factor in plan:
        diversity = diversity_of(n) * factor
        rewards = truth(n, k, diversity) + noise(generator, SEEDS)
        point = DesignPoint(prompts=n, responses=k, selection=selection)
        records.append(simulated(point, rewards, diversity=diversity))
    return records


def measured_curve() -> DiversityCurve:
    """The pool's curve as a study would hand it over."""
    sizes = [int(n) for n in np.unique(np.geomspace(1000, 72000, 80).astype(int))]
    return DiversityCurve(tuple(sizes), tuple(diversity_of(n) for n in sizes))


def one_study(ground: Ground, generator: np.random.Generator, seed: int) -> dict[str, float]:
    """Coverage at each budget, regret of the recommended split and of the best observed trial."""
    truth = ground.draw(generator)
    records = trials_of(truth, ground.noise, generator)
    fit, curve = fit_trials(records), measured_curve()
    result = {"says count": float(fit.effect.verdict == "count")}
    for name, budget in BUDGETS.items():
        splits = feasible_splits(CostModel(), budget, responses=RESPONSES)
        true = np.array([expected(truth, s) for s in splits])
        low, high = predict(fit, splits, curve).interval()
        result[f"covered {name}"] = float(np.mean((low <= true) & (true <= high)))
        result[f"width {name}"] = float(np.mean(high - low))
    answer = recommend(fit, Question(BUDGET, CostModel(), curve, RESPONSES, None), seed=seed)
    return result | judged(answer, truth, records)


def expected(truth: Truth, split: Split) -> float:
    """The true expected reward of a split with random prompts."""
    return float(truth(split.prompts, split.responses, diversity_of(split.prompts)))


def judged(answer: Recommendation, truth: Truth, records: Sequence[TrialRecord]) -> dict[str, float]:
    """Regret of the recommendation, and of picking the trial with the best observed mean reward."""
    best = max(expected(truth, candidate.split) for candidate in answer.splits)
    mine = expected(truth, answer.best.split)
    picked = max((r for r in records if r.selection == "random"), key=lambda r: r.reward)
    low, high = answer.best.interval_95
    runner_up = answer.runner_up.split if answer.runner_up else answer.best.split
    return {
        "covered recommended": float(low <= mine <= high),
        "regret": best - mine,
        "regret of best observed": best - expected(truth, Split(picked.prompts, picked.responses)),
        "claimed better": answer.probability_better or 0.0,
        "is better": float(mine > expected(truth, runner_up)),
        "decided": float(not answer.flags["undecided"]),
        "decided wrongly": float(not answer.flags["undecided"] and best > mine + answer.margin),
        "spends": answer.best.cost / answer.budget,
    }


def ground_figures(name: str, studies: int, seed: int) -> dict[str, float]:
    """Means over `studies` studies of one ground."""
    generator = np.random.default_rng([seed, ORDER.index(name)])
    found = [one_study(GROUNDS[name], generator, seed) for _ in range(studies)]
    figures = {key: float(np.mean([each[key] for each in found])) for key in found[0]}
    figures["regret ratio"] = figures["regret"] / figures["regret of best observed"]
    return figures


def held_out() -> dict[str, dict[str, float]]:
    """The paper's points with n over 12,000, predicted from the smaller ones: error, coverage, width."""
    figure = paper_figures()["figure4"]
    curve = DiversityCurve(tuple(figure["prompts"]), tuple(figure["diversity"]))
    return {name: _held_out(figure, rewards, curve) for name, rewards in figure["reward"].items()}


def _held_out(
    figure: dict[str, Any], rewards: dict[str, list[float]], curve: DiversityCurve
) -> dict[str, float]:
    points = [
        simulated(DesignPoint(prompts=n, responses=int(k)), [y], diversity=d)
        for k, ys in rewards.items()
        for n, d, y in zip(figure["prompts"], figure["diversity"], ys, strict=True)
    ]
    fit = fit_trials([point for point in points if point.prompts <= LARGEST_KNOWN])
    unseen = [point for point in points if point.prompts > LARGEST_KNOWN]
    forecast = predict(fit, [point.split for point in unseen], curve)
    printed = np.array([point.reward for point in unseen])
    low, high = forecast.interval()
    wide = np.array([point.prompts >= 24_000 for point in unseen])
    return {
        "rmse over 12,000": float(np.sqrt(np.mean((forecast.mean - printed) ** 2))),
        "rmse from 24,000": float(np.sqrt(np.mean((forecast.mean - printed)[wide] ** 2))),
        "covered": float(np.mean((low <= printed) & (printed <= high))),
        "width": float(np.mean(high - low)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="50 studies a ground instead of 500")
    parser.add_argument("--studies", type=int, default=500)
    parser.add_argument("--seed", type=int, default=7)
    args = parser.parse_args()
    studies = 50 if args.quick else args.studies
    with ProcessPoolExecutor() as pool:
        shares = pool.map(ground_figures, GROUNDS, [studies] * len(GROUNDS), [args.seed] * len(GROUNDS))
        figures = dict(zip(GROUNDS, shares, strict=True))
    for name, values in figures.items():
        print(f"{name}:", ", ".join(f"{key} {value:.4g}" for key, value in values.items()))
    print(json.dumps({"studies": studies, "seed": args.seed, "grounds": figures, "held out": held_out()}))


if __name__ == "__main__":
    main()
