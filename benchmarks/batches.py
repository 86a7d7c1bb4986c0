"""Six batches of labels, each planned after the trials on those before, against one plan for all the money.

    python -m benchmarks.batches [--quick] [--replays 20]

Grounds are those of `benchmarks.search` (the paper's where its figures are, and made-up ones). *One shot*
buys the split that past studies alone speak for, the ground's own algorithm and model left out. *Batches*
spend a sixth of the same money on the same advice, with as many responses as the ground has, then train
nested subsets of all labels at hand (a quarter, a half, all; every number of responses; two seeds), fit,
and follow `search.prior.batches.next_batch` for the next sixth, or stop. With *drift* every batch's rewards
are shifted by a normal of 0.005, as when raters or a reward model change over the weeks. Regret is against
the best equal split of the whole budget; labels held unequally are worth the mean over their prompts, or
any equal part of them where that is more. A stop is wrong where all the money left would truly have added
more than the margin.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from base.errors import InsufficientDataError
from benchmarks import search
from benchmarks._simulated import simulated
from benchmarks.prior import GROUNDS, family
from search.config.cost import Split, feasible_splits, largest_split
from search.fit.fit import fit_trials
from search.fit.question import predict
from search.prior.batches import Holding, Labels, Predict, bought, next_batch, options
from search.prior.hierarchy import Prior, learn_prior
from search.prior.past_studies import past_studies
from search.trials.design_point import DesignPoint
from search.trials.record import TrialRecord, pooled

BATCHES, SEEDS, MARGIN, DRIFT = 6, 2, 0.002, 0.005
SUBSETS = (0.25, 0.5, 1.0)


@dataclass
class Replay:
    """One run of weekly batches on a ground."""

    ground: search.Ground
    truth: search.Truth
    prior: Prior
    drift: float
    generator: np.random.Generator
    labelled: Holding = field(default_factory=dict)
    records: list[TrialRecord] = field(default_factory=list)

    def at(self, split: Split) -> float:
        return self.truth(DesignPoint(prompts=split.prompts, responses=split.responses))

    def train(self) -> None:
        """Trials on subsets of the labels at hand; those with fewer responses use part of the labels."""
        shift = self.generator.normal(0, self.drift) if self.drift else 0.0
        for k in self.ground.responses:
            most = sum(prompts for have, prompts in self.labelled.items() if have.responses >= k)
            for size in sorted({int(share * most) for share in SUBSETS} - {0}):
                point = DesignPoint(prompts=size, responses=k)
                noise = self.generator.normal(shift, self.ground.deviation, SEEDS)
                first = len(self.records) * SEEDS
                self.records.append(
                    simulated(point, np.clip(self.truth(point) + noise, 0, 1),
                              diversity=search.curve().at(size), seeds=range(first, first + SEEDS))
                )  # fmt: skip

    def predictor(self) -> Predict:
        """The fit of all trials so far; past studies, where it identifies no line."""
        fit = fit_trials(pooled(self.records))
        if fit.ensemble is None:
            return self.prior.forecast
        return lambda splits: predict(fit, splits, search.curve())

    def worth(self, labelled: Holding) -> float:
        """True reward of the labels: as they are, or any equal part of them."""
        total = sum(labelled.values())
        mixed = sum(p / total * self.at(has.of(total)) for has, p in labelled.items() if p)
        most = {k: sum(p for has, p in labelled.items() if has.responses >= k) for k in self.ground.responses}
        equal = [self.at(Split(prompts, k)) for k, prompts in most.items() if prompts]
        return max([mixed, *equal])

    def best(self) -> float:
        splits = feasible_splits(self.ground.cost, self.ground.budget, responses=self.ground.responses)
        return max(map(self.at, splits))

    def one_shot(self) -> float:
        splits = feasible_splits(self.ground.cost, self.ground.budget, responses=self.ground.responses)
        return self.at(splits[int(self.prior.forecast(splits).mean.argmax())])

    def run(self) -> dict[str, float]:
        ground, each = self.ground, self.ground.budget / BATCHES
        first = largest_split(ground.cost, each, max(ground.responses), None)
        assert first is not None
        self.labelled = {Labels(first.responses): first.prompts}
        left, stopped, wrong = ground.budget - each, False, False
        while left > each / 2 and not stopped:
            self.train()
            ask = partial(
                next_batch, self.predictor(), self.labelled, cost_model=ground.cost,
                responses=ground.responses,
                new_prompts=None, margin=MARGIN, doubt=self.prior.given(self.records).forecast,
            )  # fmt: skip
            try:
                stopped, batch = ask(left=left).stop, ask(left=each)
            except InsufficientDataError:
                break
            if stopped:
                wrong = self.truly_addable(left) > MARGIN
                break
            self.labelled = bought(self.labelled, batch.new, batch.top_up)
            left -= each
        best = self.best()
        return {
            "batches": best - self.worth(self.labelled),
            "one shot": best - self.one_shot(),
            "stopped": float(stopped),
            "stopped wrongly": float(wrong),
            "spent": 1 - left / ground.budget,
        }

    def truly_addable(self, left: float) -> float:
        can = options(self.labelled, left, self.ground.cost, self.ground.responses, (None,), None)
        return max(self.worth(after) for *_, after in can) - self.worth(self.labelled)


def figures(name: str, drift: float, replays: int) -> dict[str, float]:
    """Means over replays."""
    ground, studies = search.grounds()[name], past_studies()
    prior = learn_prior([study for study in studies if family(study.name) != GROUNDS.get(name)])
    rows = []
    for number in range(replays):
        generator = np.random.default_rng([sorted(search.grounds()).index(name), number])
        rows.append(Replay(ground, ground.draw(generator), prior, drift, generator).run())
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="3 replays a ground instead of 20")
    parser.add_argument("--replays", type=int, default=20)
    args = parser.parse_args()
    replays = 3 if args.quick else args.replays
    table: dict[str, dict[str, Any]] = {}
    for name in search.grounds():
        for drift in (0.0, DRIFT):
            row = figures(name, drift, replays)
            table.setdefault(name, {})["drift" if drift else "no drift"] = row
            shown = ", ".join(f"{key} {value:.4f}" for key, value in row.items())
            print(f"{name}, {'drift' if drift else 'no drift'}: {shown}", flush=True)
    rows = [row for each in table.values() for row in each.values()]
    means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
    print(json.dumps({"replays": replays, "baseline": "one shot", "mean": means, "grounds": table}))


if __name__ == "__main__":
    main()
