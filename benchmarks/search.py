"""How many trained samples until the right split is found, and how often is a wrong one decided for?

    python -m benchmarks.search [--quick] [--replays 200] [--processes 1]
    python -m benchmarks.search --methods botorch ax [--until 0.34]

Nothing is trained: a trial's reward is the ground's true reward plus noise of one seed's size. The plan, the
belief and Optuna's proposals are the product's own. Trained samples are prompts x responses x seeds, summed
over trials; all shares are of what the full grid (every number of responses at every spend, three seeds each)
takes. The answer is right if its true reward is within 0.002 of the best split's. The last line is one JSON
object.

The baselines: `grid`, which answers with the best mean at the whole budget; `random` points; `tpe`, plain
Optuna on responses and budget fraction. The last two train a point with one seed at a time and
answer like the grid. `botorch` and `ax`, which are asked for by name alone, are `_search_peers`: they are
installed, pinned, into an environment of the benchmark's own. With `--until` all but the grid end at this
share of its samples.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import optuna

from benchmarks._peer_environment import run_inside
from benchmarks._simulated import simulated
from benchmarks.paper import paper_figures
from search.config.cost import CostModel, Split
from search.config.study import StudyConfig
from search.fit.curve import DiversityCurve
from search.fit.ensemble import Candidate
from search.plan.belief import Belief
from search.plan.plan import Plan, seeded
from search.plan.progress import Progress
from search.plan.proposals import Proposals
from search.plan.space import Space
from search.plan.step import Stop, Train
from search.trials.design_point import DesignPoint, Trial
from search.trials.record import TrialRecord

FRACTIONS = (0.125, 0.25, 0.5, 1.0)
GRID_SEEDS = 3
MARGIN = 0.002
TRIALS = 40
# The peers, and what the plan's side needs beside them.
AX, BOTORCH, NEEDED = "ax-platform==1.3.1", "botorch==0.18.1", ("optuna", "sqlalchemy")
# Residual mean squares of the paper's lines, of points that average three seeds (Song et al., Figure 4).
DEVIATION = {"PRO": (3 * 2.6e-5) ** 0.5, "SFT": (3 * 9.3e-6) ** 0.5}

Truth = Callable[[DesignPoint], float]


@dataclass(frozen=True)
class Ground:
    """Where methods are compared: `draw` makes one replay's truth, `deviation` is that of one seed.

    Where `smaller`, less than the budget may be best, so every split of the grid is an answer. The published
    ones replay the figures of Song et al. in `studies/`.
    """

    draw: Callable[[np.random.Generator], Truth]
    deviation: float
    responses: tuple[int, ...] = (2, 3, 4)
    budget: float = 48_000
    cost: CostModel = CostModel()
    smaller: bool = False

    def config(self, seeds: int, seed: int) -> StudyConfig:
        return StudyConfig.model_validate(
            {
                "budget": self.budget,
                "seed": seed,
                "cost": self.cost,
                "pool": {"path": "none"},
                "trainer": {"matching": "epochs", "epochs": 1},
                "search": {
                    "responses": self.responses, "budget_fractions": FRACTIONS,
                    "seeds": seeds, "trials": TRIALS,
                    "practical_margin": MARGIN,
                },
            }
        )  # fmt: skip


@dataclass
class Study:
    """One replay: what was trained, and after each trial the samples so far and the answer.

    `further` are models that the plan's fit counts beside its own.
    """

    ground: Ground
    space: Space
    truth: Truth
    curve: DiversityCurve
    generator: np.random.Generator
    further: Sequence[Candidate] = ()
    finished: list[TrialRecord] = field(default_factory=list)
    samples: int = 0
    answers: list[tuple[int, bool]] = field(default_factory=list)

    def train(self, trial: Trial) -> float:
        noise = self.generator.normal(0, self.ground.deviation, len(trial.seeds))
        rewards = np.clip(self.truth(trial.point) + noise, 0, 1)
        diversity = self.curve.at(trial.point.prompts)
        record = simulated(trial.point, rewards, diversity=diversity, seeds=trial.seeds)
        self.finished.append(record)
        self.samples += trial.point.prompts * trial.point.responses * len(trial.seeds)
        return record.reward

    def right(self, split: Split | None) -> bool:
        """Whether the split is as good as the best: of the whole budget, or of the grid where `smaller`."""
        if split is None:
            return False
        best = max(self.truth(point) for point in self._answers())
        at = DesignPoint(prompts=split.prompts, responses=split.responses)
        return self.truth(at) >= best - MARGIN

    def best_mean(self) -> Split | None:
        """The split with the best mean reward among those that may be answered; None before any is tried."""
        found: dict[Split, list[float]] = {}
        allowed = {point.split for point in self._answers()}
        for record in self.finished:
            if record.split in allowed:
                found.setdefault(record.split, []).extend(record.rewards)
        return max(found, key=lambda split: float(np.mean(found[split])), default=None)

    def _answers(self) -> list[DesignPoint]:
        if self.ground.smaller:
            return self.space.grid()
        return [self.space.point(k, self.space.whole(k)) for k in self.space.fractions]

    def answer(self, split: Split | None) -> None:
        self.answers.append((self.samples, self.right(split)))


def grid_samples(space: Space) -> int:
    return GRID_SEEDS * sum(point.prompts * point.responses for point in space.grid())


def run_plan(study: Study, limit: int) -> dict[str, float]:
    """The product's plan until it stops, or has trained as much as the grid."""
    plan, progress = Plan(study.space, study.curve, study.further), Progress()
    proposals = Proposals(study.space, identity="benchmark", url="")
    while study.samples < limit:
        step = plan.next(progress, proposals.propose)
        believed = (
            step.belief.best if isinstance(step, Train | Stop) and isinstance(step.belief, Belief) else None
        )
        study.answer(believed)
        if not isinstance(step, Train):
            break
        key = step.trial.key("benchmark")
        proposals.start(key, step.trial)
        proposals.finish(key, study.train(step.trial))
        progress = Progress(finished=study.finished)
    decided = isinstance(step, Stop) and step.decided
    right = study.answers[-1][1]
    return {"decided": float(decided), "decided wrongly": float(decided and not right)}


def run_grid(study: Study, limit: int) -> dict[str, float]:
    for point in study.space.grid():
        for seed in range(GRID_SEEDS):
            study.train(seeded(study.space.config, point, range(seed)))
    study.answer(study.best_mean())
    return {}


def run_random(study: Study, limit: int) -> dict[str, float]:
    points, seen = study.space.grid(), dict[DesignPoint, int]()
    while study.samples < limit:
        point = points[study.generator.integers(len(points))]
        _one_seed(study, point, seen)
    return {}


def run_tpe(study: Study, limit: int) -> dict[str, float]:
    """Optuna's default sampler with its default start, told the reward of each point."""
    sampler = optuna.samplers.TPESampler(seed=int(study.generator.integers(2**31)))
    tuner, seen = optuna.create_study(direction="maximize", sampler=sampler), dict[DesignPoint, int]()
    while study.samples < limit:
        trial = tuner.ask()
        responses = trial.suggest_categorical("responses", study.ground.responses)
        fractions = study.space.fractions[responses]
        fraction = trial.suggest_categorical(f"budget_fraction of {fractions}", fractions)
        tuner.tell(trial, _one_seed(study, study.space.point(responses, fraction), seen))
    return {}


def run_peer(name: str) -> Callable[[Study, int], dict[str, float]]:
    """A method that runs where the peers are installed."""

    def run(study: Study, limit: int) -> dict[str, float]:
        from benchmarks._search_peers import PEERS

        peer, seen = PEERS[name](study.space, int(study.generator.integers(2**31))), Counter[DesignPoint]()
        while study.samples < limit:
            point = peer.ask()
            peer.tell(point, _next_seed(study, point, seen))
            best = peer.best(study._answers())
            study.answer(study.best_mean() if best is None else best.split)
        return {}

    return run


def _one_seed(study: Study, point: DesignPoint, seen: dict[DesignPoint, int]) -> float:
    reward = _next_seed(study, point, seen)
    study.answer(study.best_mean())
    return reward


def _next_seed(study: Study, point: DesignPoint, seen: dict[DesignPoint, int]) -> float:
    count = seen.get(point, 0)
    seen[point] = count + 1
    return study.train(seeded(study.space.config, point, range(count)))


OURS = {"plan": run_plan, "grid": run_grid, "random": run_random, "tpe": run_tpe}
PEERS = {"botorch": run_peer("botorch"), "ax": run_peer("ax")}
METHODS = OURS | PEERS


def replay(
    name: str, method: str, number: int, seeds: int, further: Sequence[Candidate] = (), until: float = 1.0
) -> dict[str, float]:
    """One study of one method, as shares of the grid's samples."""
    ground = grounds()[name]
    generator = np.random.default_rng([ORDER.index(name), number])
    truth = ground.draw(generator)
    space = Space(ground.config(seeds, number))
    study = Study(ground, space, truth, curve(), generator, further)
    limit = grid_samples(space)
    found = METHODS[method](study, math.ceil(until * limit))
    return found | {
        "right": float(study.answers[-1][1]),
        "right at a third": float(_at(study.answers, limit / 3)),
        "samples": study.samples / limit,
        "samples until right": _until_right(study.answers) / limit,
    }


def _at(answers: Sequence[tuple[int, bool]], samples: float) -> bool:
    """The answer when so many samples had been trained, or at the end where the study stopped before."""
    until = [right for spent, right in answers if spent <= samples]
    return until[-1] if until else False


def _until_right(answers: Sequence[tuple[int, bool]]) -> float:
    """Samples after which the answer was right and stayed so; infinite where it was wrong in the end."""
    spent = np.inf
    for samples, right in reversed(answers):
        if not right:
            return spent
        spent = samples
    return spent


paper = cache(paper_figures)


def curve() -> DiversityCurve:
    """A curve like the paper's."""
    sizes = (750, 1500, 3000, 6000, 12000, 24000, 36000)
    return DiversityCurve(sizes, (10.3, 12.7, 14.9, 17.0, 18.9, 20.3, 20.8))


def _interpolated(sizes: Sequence[float], rewards: Mapping[str, Sequence[float]]) -> Truth:
    return lambda at: float(np.interp(np.log(at.prompts), np.log(sizes), rewards[str(at.responses)]))


def figure(algorithm: str) -> Callable[[np.random.Generator], Truth]:
    """Figure 4's points, straight lines in log n between them; their own scatter counts as truth."""

    def draw(generator: np.random.Generator) -> Truth:
        data = paper()["figure4"]
        return _interpolated(data["prompts"], data["reward"][algorithm])

    return draw


def table(row: str) -> Callable[[np.random.Generator], Truth]:
    """One model and task of Table 1: six sizes, from 1,500 to 24,000 prompts."""

    def draw(generator: np.random.Generator) -> Truth:
        data = paper()["table1"]["rows"][row]
        rewards = {k: [r / 100 for n in ("3000", "24000") for r in data[n][k]] for k in ("2", "3", "4")}
        return _interpolated([1500, 2000, 3000, 12000, 16000, 24000], rewards)

    return draw


def lines(
    at_whole: dict[int, float], budget: float, cost: CostModel
) -> Callable[[np.random.Generator], Truth]:
    """A line on D for each k through the given rewards of the whole budget, slopes drawn as the paper's."""

    def draw(generator: np.random.Generator) -> Truth:
        slopes = {k: generator.uniform(0.0043, 0.0073) for k in at_whole}
        wholes = {k: curve().at(int(budget / cost.cost_per_prompt(k))) for k in at_whole}

        def truth(at: DesignPoint) -> float:
            k = at.responses
            return at_whole[k] + slopes[k] * (curve().at(at.prompts) - wholes[k])

        return truth

    return draw


def flat(rewards: dict[int, float]) -> Callable[[np.random.Generator], Truth]:
    """Neither diversity nor the number of prompts does anything."""
    return lambda generator: lambda at: rewards[at.responses]


def bent(slopes: Mapping[int, tuple[float, float]], bend: float) -> Callable[[np.random.Generator], Truth]:
    """Slopes on log prompts drawn for each k, less `bend` times the square about 8,000 prompts."""

    def draw(generator: np.random.Generator) -> Truth:
        drawn = {k: generator.uniform(*ends) for k, ends in slopes.items()}

        def truth(at: DesignPoint) -> float:
            x = float(np.log(at.prompts / 8000))
            return 0.53 + STEP * (at.responses - 2) + drawn[at.responses] * x - bend * x**2

        return truth

    return draw


PAIRS = CostModel(per_annotation=0, per_comparison=1, unit="comparisons")
# Neighbouring numbers of responses differ by 0.0094 in the paper on average, at 48,000 annotations.
STEP = 0.0094
INTERIOR = {2: 0.54 - 2 * STEP, 3: 0.54 - STEP, 4: 0.54, 6: 0.54 - STEP, 8: 0.54 - 2 * STEP}
FLAT = {2: 0.54 - 2 * STEP, 3: 0.54 - STEP, 4: 0.54}


def grounds() -> dict[str, Ground]:
    """All grounds by name."""
    pro, sft = DEVIATION["PRO"], DEVIATION["SFT"]
    return {
        "Figure 4, PRO": Ground(figure("PRO"), pro),
        "Figure 4, SFT": Ground(figure("SFT"), sft),
        "Table 1, PRO, OPT-1.3B, Harmless": Ground(table("PRO, OPT-1.3B, Harmless"), pro),
        "Table 1, PRO, OPT-1.3B, Helpful": Ground(table("PRO, OPT-1.3B, Helpful"), pro),
        "Table 1, PRO, LLaMA-7B": Ground(table("PRO, LLaMA-7B, Global"), pro),
        "Table 1, SFT, LLaMA-7B": Ground(table("SFT, LLaMA-7B, Global"), sft),
        "interior k": Ground(lines(INTERIOR, 48_000, CostModel()), pro, responses=tuple(INTERIOR)),
        "no diversity effect": Ground(flat(FLAT), pro),
        "cost by comparisons": Ground(
            lines({2: 0.544, 3: 0.535, 4: 0.543}, 24_000, PAIRS), pro, budget=24_000, cost=PAIRS
        ),
        "falling": Ground(bent(dict.fromkeys((2, 3, 4), (-0.014, -0.006)), 0.0), pro, smaller=True),
        "peaked": Ground(bent(dict.fromkeys((2, 3, 4), (-0.004, 0.004)), 0.012), pro, smaller=True),
        "crossing": Ground(
            bent({2: (0.006, 0.014), 3: (-0.002, 0.002), 4: (-0.014, -0.006)}, 0.0), pro, smaller=True
        ),
    }


NEW = ("falling", "peaked", "crossing")
# Numbers that seed the grounds: those of the older ones stay as grounds are added.
ORDER = [*sorted(name for name in grounds() if name not in NEW), *NEW]


def figures(name: str, method: str, replays: int, seeds: int, until: float) -> dict[str, float | None]:
    """Means over replays, and the samples within which 95% of them were right for good."""
    found = [replay(name, method, number, seeds, until=until) for number in range(replays)]
    means = {key: float(np.mean([each[key] for each in found])) for key in found[0] if "until" not in key}
    right_after = np.sort([each["samples until right"] for each in found])
    late = float(right_after[int(np.ceil(0.95 * replays)) - 1])
    return {**means, "95% right after": late if np.isfinite(late) else None}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="20 replays a ground instead of 200")
    parser.add_argument("--replays", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=1, help="seeds of a trial of the plan")
    parser.add_argument("--processes", type=int, default=None)
    parser.add_argument("--until", type=float, default=1.0, help="share of the grid's samples to end at")
    parser.add_argument("--methods", nargs="+", default=list(OURS), choices=METHODS)
    parser.add_argument("--grounds", nargs="+", default=list(grounds()), choices=grounds())
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if not args.inside and PEERS.keys() & args.methods:
        inside = [*sys.argv[1:], "--inside"]
        sys.exit(run_inside("benchmarks.search", inside, BOTORCH, *NEEDED, peer=AX))
    replays = 20 if args.quick else args.replays
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    names = list(args.grounds)
    table: dict[str, dict[str, Any]] = {}
    with ProcessPoolExecutor(args.processes) as pool:
        jobs = {
            (name, method): pool.submit(figures, name, method, replays, args.seeds, args.until)
            for name in names
            for method in args.methods
        }
        for (name, method), job in jobs.items():
            table.setdefault(name, {})[method] = job.result()
            shown = ", ".join(
                f"{key} {'never' if value is None else format(value, '.3f')}"
                for key, value in job.result().items()
            )
            print(f"{name} | {method}: {shown}", flush=True)
    print(
        json.dumps(
            {
                "replays": replays,
                "seeds": args.seeds,
                "until": args.until,
                "baseline": "grid",
                "grounds": table,
            }
        )
    )


if __name__ == "__main__":
    main()
