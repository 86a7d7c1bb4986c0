"""Is a choice of responses recommended where it is better than random, and only there?

    python -m benchmarks.choices [--quick] [--studies 100] [--seeds 3] [--processes 1]

Simulated studies of the product's grid (4 budget fractions of 2, 3 and 4 responses, random and `spread`,
`--seeds` each) on the truths of `benchmarks.raters` without noise of raters; `spread` adds a gain to every
split. The fit and the recommendation are the product's own. For each gain: how often the choice is
recommended, how often it would be by the highest predicted reward alone (the baseline), the mean regret of
both, and how often the 95% interval of the lead of 12,000 x 4 spread over 12,000 x 4 holds the gain. The last
line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np

from benchmarks.raters import BUDGET, FIRST, MARGIN, RESPONSES, Truth, trials_of
from benchmarks.search import FRACTIONS, curve
from search.advice.recommend import recommend
from search.config.cost import CostModel, Split
from search.config.study import StudyConfig
from search.fit.decision import lead
from search.fit.fit import fit_trials
from search.fit.question import Question, predict
from search.plan.space import Space

GAINS = (0.0, 0.002, 0.005, 0.01)


def config(seeds: int, seed: int) -> StudyConfig:
    """The study as a user would ask for it."""
    search = {
        "responses": RESPONSES, "response_choices": ["random", "spread"], "budget_fractions": FRACTIONS,
        "seeds": seeds, "plan": "grid", "practical_margin": MARGIN,
    }  # fmt: skip
    trainer = {"matching": "epochs", "epochs": 1}
    return StudyConfig.model_validate(
        {"budget": BUDGET, "seed": seed, "pool": {"path": "none"}, "trainer": trainer, "search": search}
    )


def one_study(gain: float, seeds: int, number: int) -> dict[str, float]:
    """What one study recommends, under both rules."""
    plain = Truth.drawn("scaled", 0.0, np.random.default_rng(number))
    generator = np.random.default_rng([number, GAINS.index(gain)])

    def truth(split: Split) -> float:
        return plain(split) + gain * (split.response_choice == "spread")

    fit = fit_trials(trials_of(truth, Space(config(seeds, number)), generator))
    question = Question(BUDGET, CostModel(), curve(), RESPONSES, None)
    answer = recommend(fit, question, seed=number, margin=MARGIN)
    highest = max(answer.splits, key=lambda split: split.predicted_reward)
    best = max(truth(split.split) for split in answer.splits)
    pair = [Split(BUDGET // 4, 4, response_choice="spread"), Split(BUDGET // 4, 4)]
    _, low, high = lead(predict(fit, pair, curve()), 0, 1)
    return {
        "recommended": float(answer.best.split.response_choice == "spread"),
        "by highest prediction": float(highest.split.response_choice == "spread"),
        "regret": best - truth(answer.best.split),
        "regret by highest prediction": best - truth(highest.split),
        "lead covered": float(low <= gain <= high),
        "decided": float(not answer.flags["undecided"]),
    }


def figures(gain: float, studies: int, seeds: int) -> dict[str, float]:
    """Means over studies."""
    found = [one_study(gain, seeds, number) for number in range(FIRST, FIRST + studies)]
    return {key: float(np.mean([each[key] for each in found])) for key in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="20 studies a gain instead of 100")
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each point")
    parser.add_argument("--processes", type=int, default=None)
    args = parser.parse_args()
    studies = 20 if args.quick else args.studies
    table = {}
    with ProcessPoolExecutor(args.processes) as pool:
        done = pool.map(partial(figures, studies=studies, seeds=args.seeds), GAINS)
        for gain, found in zip(GAINS, done, strict=True):
            table[f"gain {gain:g}"] = found
            words = ", ".join(f"{key} {value:.4g}" for key, value in found.items())
            print(f"gain {gain:g}: {words}", flush=True)
    print(json.dumps({"studies": studies, "seeds": args.seeds, "baseline": "by highest prediction", **table}))


if __name__ == "__main__":
    main()
