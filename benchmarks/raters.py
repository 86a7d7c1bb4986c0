"""Does a study find how many raters each response should have, and do its intervals hold?

    python -m benchmarks.raters [--quick] [--studies 200] [--seeds 3] [--processes 1]

Nothing is trained: a trial's reward is the ground's true reward plus noise of one seed's size. A study is the
product's grid (4 budget fractions of every number of responses and raters, `--seeds` each); the fit and the
recommendation are the product's own. On each ground one rater turns a share of pairs round
(the flip rate, 1 - search.agreement), and how much of the order r raters save is what the product's own
labels show, drawn for simulated prompts. Two ways in which that might enter reward:

    scaled    the gain over the base model is multiplied by the share of the order that is saved (tau)
    fewer     labels are worth as much as tau^2 times as many without noise

The recommended split is right if its true reward is within 0.002 of the best of all numbers of responses and
raters at the whole budget. Baselines are studies with the number of raters fixed at 1 and at 3. The last line
is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations
from typing import Any, Literal

import numpy as np

from benchmarks._simulated import simulated
from benchmarks.search import DEVIATION, FRACTIONS, curve
from pools.raters import RaterLabels, rater_error
from pools.types import Example, MemoryExamples, Prompt, Response
from search.advice.recommend import recommend
from search.config.cost import CostModel, Labelling, Split, feasible_splits
from search.config.study import StudyConfig
from search.fit.fit import fit_trials
from search.fit.question import Question, predict
from search.plan.space import Space
from search.trials.record import TrialRecord

FLIPS = (0.0, 0.1, 0.25, 0.4)
RESPONSES, RATERS = (2, 3, 4), (1, 2, 3)
BUDGET, MARGIN = 48_000, 0.002
BASE = 0.45  # reward before any training
ARMS: dict[str, tuple[int, ...]] = {"search.raters 1, 2, 3": RATERS, "1 rater": (1,), "3 raters": (3,)}
FIRST = 1_000  # number of the first study: smaller ones were looked at while the models were chosen
PROMPTS = 1_500  # simulated, to see how much of the order labels save

Shape = Literal["scaled", "fewer"]


@cache
def saved(flips: float, responses: int, raters: int) -> float:
    """Kendall's tau of the labels with the true order, ties counting nothing: 1 without noise."""
    generator = np.random.default_rng(responses)
    scores = generator.normal(size=(PROMPTS, responses))
    examples = MemoryExamples(
        Example(Prompt(f"prompt {i}"), tuple(Response(f"r{j}", float(s)) for j, s in enumerate(row)))
        for i, row in enumerate(scores)
    )
    labels = RaterLabels(raters, rater_error(examples, 1 - flips))
    found = [_tau(example, labels.of(example, 0)) for example in examples]
    return float(np.mean(found))


def _tau(true: Example, labelled: Example) -> float:
    scores = {response.text: response.score for response in true.responses}
    pairs = list(combinations(labelled.responses, 2))
    signs = [np.sign(a.score - b.score) * np.sign(scores[a.text] - scores[b.text]) for a, b in pairs]
    return float(np.mean(signs))


@dataclass(frozen=True)
class Truth:
    """Rewards of one study: a line on D for each number of responses, as in the paper, under noisy labels."""

    shape: Shape
    flips: float
    offsets: Mapping[int, float]
    slopes: Mapping[int, float]

    @classmethod
    def drawn(cls, shape: Shape, flips: float, generator: np.random.Generator) -> Truth:
        steps = np.concatenate([[0.0], np.cumsum(generator.normal(0.009, 0.006, 2))])
        slopes = {k: generator.uniform(0.0043, 0.0073) for k in RESPONSES}
        return cls(shape, flips, dict(zip(RESPONSES, steps.tolist(), strict=True)), slopes)

    def __call__(self, split: Split) -> float:
        k, tau = split.responses, saved(self.flips, split.responses, split.raters or 1)
        worth = split.prompts * (tau**2 if self.shape == "fewer" else 1.0)
        clean = 0.52 + self.offsets[k] + self.slopes[k] * (curve().at(worth) - 17)
        return BASE + tau * (clean - BASE) if self.shape == "scaled" else clean


def config(flips: float, raters: tuple[int, ...], seeds: int, seed: int) -> StudyConfig:
    """The study as a user would ask for it."""
    search = {
        "responses": RESPONSES, "raters": raters, "agreement": 1 - flips, "budget_fractions": FRACTIONS,
        "seeds": seeds, "plan": "grid", "practical_margin": MARGIN,
    }  # fmt: skip
    trainer = {"matching": "epochs", "epochs": 1}
    return StudyConfig.model_validate(
        {"budget": BUDGET, "seed": seed, "pool": {"path": "none"}, "trainer": trainer, "search": search}
    )


def trials_of(
    truth: Callable[[Split], float], space: Space, generator: np.random.Generator
) -> list[TrialRecord]:
    """Every point of the product's grid, trained once for each seed."""
    return [
        simulated(
            point,
            np.clip(truth(point.split) + noise, 0, 1),
            diversity=curve().at(point.prompts),
        )
        for point in space.grid()
        for noise in [generator.normal(0, DEVIATION["PRO"], space.config.search.seeds)]
    ]


def one_study(
    shape: Shape, flips: float, raters: tuple[int, ...], seeds: int, number: int
) -> dict[str, float]:
    """Regret of the recommendation over all numbers of raters, and coverage at the splits of the budget."""
    truth = Truth.drawn(shape, flips, np.random.default_rng([FLIPS.index(flips), number]))
    generator = np.random.default_rng([FLIPS.index(flips), number, len(raters), raters[0]])
    records = trials_of(truth, Space(config(flips, raters, seeds, number)), generator)
    fit, question = fit_trials(records), Question(BUDGET, CostModel(), curve(), RESPONSES, None)
    answer = recommend(fit, question, seed=number, margin=MARGIN)
    splits = [split for r in raters for split in _whole(r)]
    true = np.array([truth(split) for split in splits])
    low, high = predict(fit, splits, curve()).interval()
    own = truth(answer.best.split)
    regret = max(truth(split) for r in RATERS for split in _whole(r)) - own
    return {
        "right": float(regret <= MARGIN),
        "regret": regret,
        "covered": float(np.mean((low <= true) & (true <= high))),
        "covered recommended": float(answer.best.interval_95[0] <= own <= answer.best.interval_95[1]),
        "width": float(np.mean(high - low)),
        "one rater": float(answer.best.raters == 1),
        "decided": float(not answer.flags["undecided"]),
        "decided wrongly": float(not answer.flags["undecided"] and regret > MARGIN),
        "trials": float(len(records)),
    }


def _whole(raters: int) -> list[Split]:
    return feasible_splits(CostModel(), BUDGET, responses=RESPONSES, labelling=Labelling(raters))


def figures(shape: Shape, flips: float, arm: str, studies: int, seeds: int) -> dict[str, float]:
    """Means over studies."""
    found = [one_study(shape, flips, ARMS[arm], seeds, number) for number in range(FIRST, FIRST + studies)]
    return {key: float(np.mean([each[key] for each in found])) for key in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="20 studies a ground instead of 200")
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each point")
    parser.add_argument("--processes", type=int, default=None)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    args = parser.parse_args()
    studies = 20 if args.quick else args.studies
    shapes: tuple[Shape, ...] = ("scaled", "fewer")
    grounds = [(shape, flips) for shape in shapes for flips in FLIPS if flips or shape == "scaled"]
    jobs = [(*ground, arm) for ground in grounds for arm in args.arms]
    table: dict[str, dict[str, Any]] = {}
    with ProcessPoolExecutor(args.processes) as pool:
        done = pool.map(partial(_job, studies=studies, seeds=args.seeds), jobs)
        for (shape, flips, arm), found in zip(jobs, done, strict=True):
            name = f"{shape}, {flips:.0%} flips"
            table.setdefault(name, {})[arm] = found
            print(
                f"{name} | {arm}: " + ", ".join(f"{key} {value:.4g}" for key, value in found.items()),
                flush=True,
            )
    counts = {"studies": studies, "seeds": args.seeds}
    print(json.dumps({**counts, "baseline": ["1 rater", "3 raters"], "grounds": table}))


def _job(job: tuple[Shape, float, str], studies: int, seeds: int) -> dict[str, float]:
    return figures(*job, studies, seeds)


if __name__ == "__main__":
    main()
