"""Is a reversal between a study and another setting named, and is none named where there is none?

    python -m benchmarks.transfer [--quick] [--replays 200]

Nothing is trained: a trial's reward is the ground's true reward plus the noise of one seed, that of the
paper's PRO. The study (the proxy) is a grid of three numbers of responses at four budget fractions with two
seeds, where more responses are better by the paper's step. Under the other setting (the target) contenders
are trained as the product plans it (`search.plan.transfer`) and judged as its report does
(`search.advice.carry_over`). Each ground says what one more response is worth in the target:

- `same`: what it is worth in the study; `larger`, `smaller`: twice, or half of that;
- `level`: nothing, so that every split is as good as any;
- `reversed`: the opposite, times one, two and three.

A reversal is *named* where the verdict is "reversed". The baseline, of the same trials: name one whenever
another split has the best mean. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable

import numpy as np

from benchmarks._simulated import simulated
from benchmarks.search import DEVIATION, FRACTIONS, MARGIN, STEP, curve
from search.advice.carry_over import Carried, carry_over
from search.advice.recommend import recommend
from search.config.study import StudyConfig
from search.fit.fit import fit_trials
from search.plan.plan import Plan, seeded
from search.plan.progress import Progress
from search.plan.space import Space
from search.plan.step import Train
from search.plan.transfer import TransferPlan
from search.trials.design_point import DesignPoint, Trial
from search.trials.record import TrialRecord

SETTING = "algorithm sft"
SLOPE = 0.0058  # reward per unit of D, the middle of the paper's
# What one more response is worth in the target, in units of what it is worth in the study.
GROUNDS = {
    "same": 1.0,
    "larger": 2.0,
    "smaller": 0.5,
    "level": 0.0,
    "reversed": -1.0,
    "reversed, twice": -2.0,
    "reversed, three times": -3.0,
}
Truth = Callable[[DesignPoint], float]


def config(trials: int, seed: int) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "budget": 48_000,
            "seed": seed,
            "pool": {"path": "none"},
            "trainer": {"algorithm": {"name": "pro"}},
            "search": {
                "plan": "grid", "responses": (2, 3, 4), "budget_fractions": FRACTIONS, "seeds": 2,
                "practical_margin": MARGIN,
            },
            "transfer": {"algorithms": ["sft"], "trials": trials},
        }
    )  # fmt: skip


def truth(gain: float) -> Truth:
    """Rises with D as in the paper; one more response is worth `gain` at the same cost."""
    whole = {k: curve().at(48_000 // k) for k in (2, 3, 4)}
    return lambda at: (
        0.53 + gain * (at.responses - 2) + SLOPE * (curve().at(at.prompts) - whole[at.responses])
    )


def trained(trial: Trial, reward: Truth, generator: np.random.Generator) -> TrialRecord:
    noise = generator.normal(0, DEVIATION["PRO"], len(trial.seeds))
    rewards = np.clip(reward(trial.point) + noise, 0, 1)
    return simulated(trial.point, rewards, diversity=curve().at(trial.point.prompts), seeds=trial.seeds)


def replay(ground: str, number: int, trials: int) -> dict[str, float]:
    """One study and its trials under the other setting."""
    generator = np.random.default_rng([list(GROUNDS).index(ground), number])
    space = Space(config(trials, number))
    plan = Plan(space, curve())
    here, there = truth(STEP), truth(STEP * GROUNDS[ground])
    own = Progress(finished=[trained(seeded(space.config, p, ()), here, generator) for p in space.grid()])
    found: list[TrialRecord] = []
    transfer = TransferPlan(plan)
    while isinstance(step := transfer.next(own, Progress(finished=found)), Train):
        found.append(trained(step.trial, there, generator))
    judged = _judged(plan, own, found, number)
    means = {
        split: np.mean([reward for one in found if one.split == split for reward in one.rewards])
        for split in {one.split for one in found}
    }
    return {
        "named": float(judged is not None and judged.verdict == "reversed"),
        "carries over": float(judged is not None and judged.verdict == "carries over"),
        "baseline named": float(judged is not None and max(means, key=lambda s: means[s]) != judged.advised),
        "study right": float(judged is not None and judged.advised.responses == 4),
        "trainings": float(sum(len(one.seeds) for one in found)),
    }


def _judged(plan: Plan, own: Progress, elsewhere: list[TrialRecord], seed: int) -> Carried | None:
    """The report's judgement, of the split that it recommends."""
    fit = fit_trials(plan.records(own))
    answer = recommend(fit, plan.question, seed=seed, margin=MARGIN)
    found = carry_over(
        elsewhere,
        fit,
        plan.question,
        answer.best.split,
        margin=MARGIN,
        confidence=plan.search.confidence,
        seed=seed,
    )
    return found.tried[0] if found.tried else None


def figures(ground: str, replays: int, trials: int) -> dict[str, float]:
    """Means over replays."""
    found = [replay(ground, number, trials) for number in range(replays)]
    return {name: round(float(np.mean([each[name] for each in found])), 3) for name in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="20 replays a ground instead of 200")
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--trials", type=int, default=8, help="most trials under the setting")
    parser.add_argument("--grounds", nargs="+", default=list(GROUNDS), choices=GROUNDS)
    args = parser.parse_args()
    replays = 20 if args.quick else args.replays
    table = {}
    for ground in args.grounds:
        table[ground] = figures(ground, replays, args.trials)
        print(f"{ground}: {table[ground]}", flush=True)
    print(
        json.dumps(
            {
                "replays": replays,
                "trials": args.trials,
                "baseline": "a reversal is named whenever another split has the best mean",
                "grounds": table,
            }
        )
    )


if __name__ == "__main__":
    main()
