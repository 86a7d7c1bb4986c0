"""Is the right split found where the best learning rate depends on it, tuned once and tuned per split?

    python -m benchmarks.tuning [--quick] [--replays 20] [--grounds ...]

Nothing is trained: a trial's reward is the ground's true reward plus the noise of two seeds, that of the
paper's PRO. The plan, the belief and Optuna's proposals are the product's own, with `search.tune: once` and
`per_split`; neither stops before it has trained `SAMPLES` prompts x responses x seeds, so that both have
trained equally much. The true reward of a split falls by `CURVATURE` times the square of how many decades the
learning rate lies off the best one, which is 1e-5 at 3 responses, where it is tuned first, and at the others

- `moves`: 10^-5.7 at 4 responses and 10^-4.7 at 2: 4 responses are best, and look worse than 3 at 1e-5;
- `moves, same order`: as far, and 4 responses are best at 1e-5 too;
- `does not move`: the same.

An answer is *wrong* where a split is better than it by more than 0.002, each at its own best learning rate.
The baseline is `once`. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from math import log10

import numpy as np
import optuna

from benchmarks._simulated import simulated
from benchmarks.search import DEVIATION, FRACTIONS, MARGIN, STEP, curve
from search.config.study import StudyConfig
from search.plan.belief import Belief
from search.plan.plan import Plan
from search.plan.progress import Progress
from search.plan.proposals import Proposals
from search.plan.space import Space
from search.plan.step import Train
from search.trials.design_point import DesignPoint, Trial
from search.trials.record import TrialRecord

RATE = "trainer.learning_rate"
SLOPE = 0.0058  # reward per unit of D, the middle of the paper's
CURVATURE = 0.05  # reward per square of a decade of the learning rate
SAMPLES = 2_500_000
METHODS = ("once", "per_split")


@dataclass(frozen=True)
class Ground:
    """`gain`: what one more response is worth at its own best; `best`: log10 of that learning rate."""

    gain: float
    best: dict[int, float]

    def own_best(self, at: DesignPoint) -> float:
        whole = curve().at(48_000 // at.responses)
        return 0.53 + self.gain * (at.responses - 3) + SLOPE * (curve().at(at.prompts) - whole)

    def reward(self, at: DesignPoint) -> float:
        off = log10(float(dict(at.hyperparameters)[RATE])) - self.best[at.responses]
        return self.own_best(at) - CURVATURE * off**2


MOVED = {2: -4.7, 3: -5.0, 4: -5.7}
GROUNDS = {
    "moves": Ground(STEP, MOVED),
    "moves, same order": Ground(4 * STEP, MOVED),
    "does not move": Ground(STEP, dict.fromkeys((2, 3, 4), -5.0)),
}


class Unending(Plan):
    """A plan that is never sure enough to stop."""

    @property
    def needed(self) -> float:
        return 2.0


def config(tune: str, seed: int) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "budget": 48_000,
            "seed": seed,
            "pool": {"path": "none"},
            "trainer": {"matching": "epochs", "epochs": 1, "learning_rate": 3e-5},
            "search": {
                "responses": (2, 3, 4), "budget_fractions": FRACTIONS, "seeds": 2, "trials": 200,
                "practical_margin": MARGIN, "tune": tune, "hyperparameter_trials": 6,
                "space": {RATE: {"low": 1e-6, "high": 1e-4, "log": True}},
            },
        }
    )  # fmt: skip


def replay(name: str, tune: str, number: int, samples: int = SAMPLES) -> dict[str, float]:
    """One study: whether its answer is wrong, and by how much it falls short."""
    ground, generator = GROUNDS[name], np.random.default_rng([list(GROUNDS).index(name), number])
    space = Space(config(tune, number))
    plan, proposals = Unending(space, curve()), Proposals(space, identity="benchmark", url="")
    finished, spent = list[TrialRecord](), 0
    while spent < samples and isinstance(
        step := plan.next(Progress(finished=finished), proposals.propose), Train
    ):
        key = step.trial.key("benchmark")
        proposals.start(key, step.trial)
        finished.append(_trained(step.trial, ground, generator))
        proposals.finish(key, finished[-1].reward)
        spent += step.trial.point.prompts * step.trial.point.responses * len(step.trial.seeds)
    belief = plan.belief(Progress(finished=finished))
    best = max(ground.own_best(space.point(k, 1.0)) for k in (2, 3, 4))
    found = 0.0
    if isinstance(belief, Belief):
        found = ground.own_best(DesignPoint(prompts=belief.best.prompts, responses=belief.best.responses))
    return {"wrong": float(found < best - MARGIN), "regret": best - found, "samples": float(spent)}


def _trained(trial: Trial, ground: Ground, generator: np.random.Generator) -> TrialRecord:
    noise = generator.normal(0, DEVIATION["PRO"], len(trial.seeds))
    rewards = np.clip(ground.reward(trial.point) + noise, 0, 1)
    return simulated(trial.point, rewards, diversity=curve().at(trial.point.prompts), seeds=trial.seeds)


def figures(name: str, tune: str, replays: int) -> dict[str, float]:
    """Means over replays."""
    found = [replay(name, tune, number) for number in range(replays)]
    return {key: round(float(np.mean([each[key] for each in found])), 4) for key in found[0]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="4 replays a ground instead of 20")
    parser.add_argument("--replays", type=int, default=20)
    parser.add_argument("--grounds", nargs="+", default=list(GROUNDS), choices=GROUNDS)
    args = parser.parse_args()
    replays, started = 4 if args.quick else args.replays, time.perf_counter()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    table: dict[str, dict[str, dict[str, float]]] = {}
    for name in args.grounds:
        table[name] = {tune: figures(name, tune, replays) for tune in METHODS}
        once, apart = (table[name][tune]["wrong"] for tune in METHODS)
        print(f"{name}: tuned once wrong in {once:.0%}, per split in {apart:.0%}", flush=True)
    seconds = round(time.perf_counter() - started)
    print(json.dumps({"replays": replays, "baseline": "once", "seconds": seconds, "grounds": table}))


if __name__ == "__main__":
    main()
