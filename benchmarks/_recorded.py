"""Replays on the rewards that the reference study recorded, and advice judged by trainings new to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmarks._reference import Reference
from benchmarks.search import GRID_SEEDS, MARGIN, OURS, Ground, Study, grid_samples
from search.advice.recommend import recommend
from search.config.cost import CostModel, Split
from search.config.load import load_config
from search.fit.fit import fit_trials
from search.fit.question import Question
from search.plan.space import Space
from search.trials.design_point import DesignPoint
from search.trials.record import TrialRecord
from studies.reference import config_of

BUDGETS = (192, 576, 1536)  # annotations at which advice is judged


@dataclass
class Recorded(Study):
    """A replay on recorded rewards; `regret` is what its present answer lacks of the best recorded one."""

    regret: float = 1.0

    def answer(self, split: Split | None) -> None:
        best = max(self.truth(point) for point in self.space.grid())
        if split is not None:
            self.regret = best - self.truth(DesignPoint(prompts=split.prompts, responses=split.responses))
        self.answers.append((self.samples, self.regret <= MARGIN))


def replayed(study: Reference, replays: int) -> dict[str, Any]:
    """Means over replays for each method, on the numbers of responses whose whole grid was trained."""
    config = load_config(str(config_of(study.name)))
    space = Space(config, max_prompts=study.curve.prompts[-1])
    missing = {point.responses for point in space.grid() if point.split not in study.random}
    levels = [k for k in config.search.responses if k not in missing]
    if len(levels) < 2:
        return {}
    search = config.search.model_copy(update={"responses": tuple(levels), "seeds": 1, "plan": "adaptive"})
    space = Space(config.model_copy(update={"search": search}), max_prompts=study.curve.prompts[-1])
    truth = interpolated(study)
    ground = Ground(lambda _: truth, study.deviation, responses=tuple(levels), smaller=True)
    whole = GRID_SEEDS * len(space.grid())
    table = {}
    for name, method in OURS.items():
        found = []
        for number in range(replays):
            one = Recorded(ground, space, truth, study.curve, np.random.default_rng(number))
            extra = method(one, grid_samples(space))
            trained = sum(len(record.rewards) for record in one.finished)
            found.append(extra | {"regret": one.regret, "trainings": trained / whole})
        table[name] = {key: round(float(np.mean([each[key] for each in found])), 4) for key in found[0]}
    return {"responses": levels, **table}


def interpolated(study: Reference) -> Callable[[DesignPoint], float]:
    """The recorded mean rewards, straight lines in log n between them."""

    def truth(at: DesignPoint) -> float:
        sizes = sorted(split.prompts for split in study.random if split.responses == at.responses)
        rewards = [study.random[Split(size, at.responses)].reward for size in sizes]
        return float(np.interp(np.log(at.prompts), np.log(sizes), rewards))

    return truth


@dataclass(frozen=True)
class Unused:
    """Advice of all seeds but one, judged by that one: the reward of the first trained split that it names.

    `others` are those of the widest split of each number of responses within the budget, which is what one
    who knows nothing would choose from; `best_mean` that of the split with the best mean of the other seeds.
    """

    budget: int
    seed: int
    split: Split
    reward: float
    others: tuple[float, ...]
    best_mean: float

    @property
    def gain(self) -> float:
        """Over a number of responses chosen at random, with all the budget spent."""
        return self.reward - float(np.mean(self.others))

    @property
    def regret(self) -> float:
        """To the best of them by its one reward: an upper bound, since luck has chosen it."""
        return max(self.others) - self.reward


def unused(study: Reference) -> list[Unused]:
    """For each budget and each seed that all random trials share."""
    shared = set.intersection(*(set(record.seeds) for record in study.random.values()))
    return [one for seed in sorted(shared) for one in _without(study, seed)]


def _without(study: Reference, seed: int) -> Iterator[Unused]:
    kept = [r for record in study.records if (r := record.with_seeds(set(record.seeds) - {seed}))]
    fit, rewards = fit_trials(kept), {split: _of(record, seed) for split, record in study.random.items()}
    levels = sorted({split.responses for split in study.random})
    ask = partial(Question, cost_model=CostModel(), curve=study.curve, responses=tuple(levels))
    for budget in BUDGETS:
        within = [split for split in study.random if split.prompts * split.responses <= budget]
        widest = [max((s for s in within if s.responses == k), key=lambda s: s.prompts) for k in levels]
        answer = recommend(fit, ask(budget=budget, max_prompts=study.curve.prompts[-1]), seed=0)
        means = {r.split: r.reward for r in kept if r.selection == "random" and r.split in within}
        named = next(candidate.split for candidate in answer.splits if candidate.split in within)
        yield Unused(
            budget=budget,
            seed=seed,
            split=named,
            reward=rewards[named],
            others=tuple(rewards[split] for split in widest),
            best_mean=rewards[max(means, key=lambda split: means[split])],
        )


def _of(record: TrialRecord, seed: int) -> float:
    """The reward of one seed."""
    return next(result.reward for result in record.results if result.seed == seed)
