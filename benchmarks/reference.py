"""What the reference study says of each claim: `python -m benchmarks.reference [--quick]`.

Reads `studies/reference_*.csv`; nothing is trained. Differences have the 95% interval of Student's t with the
noise that all seeds of their study show. A claim is *seen* where the interval lies on its side of zero,
*refuted* where it lies on the other, else it *cannot tell*.

    trials       the mean reward of each
    claims       the paper's, and the predictions of docs/reference.md
    predicted    the larger half of the budgets by the default fit on the smaller half; each trial by all
                 others, wherever its number of responses lies between theirs; third seeds by the first two
    replays      the product's plan, the grid and random points on the recorded rewards, with noise as large
                 as the seeds show: what the answer lacks of the best recorded reward, and the share of the
                 grid's trainings

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
import yaml
from scipy import stats

from benchmarks.search import GRID_SEEDS, Ground, Study, grid_samples, run_grid, run_plan, run_random
from search.advice.prediction import Check, check_predictions
from search.config.cost import Split
from search.config.load import load_config
from search.fit.curve import DiversityCurve
from search.fit.fit import fit_trials
from search.plan.space import Space
from search.trials.design_point import DesignPoint
from search.trials.record import TrialRecord
from search.trials.trials_csv import read_trials
from studies.gather import csv_of
from studies.reference import config_of

ALGORITHMS = ("sft", "pro", "dpo")
SEEDS = 2  # of every trial; more came later
SMALLER = 192  # annotations: budgets up to this one predict the larger
# Fewer prompts and more responses against the other end, at 48, 192 and 576 annotations (of 192 prompts).
ENDS = ((Split(6, 8), Split(24, 2)), (Split(24, 8), Split(96, 2)), (Split(72, 8), Split(192, 3)))
PRO_ORDERS = (Split(24, 2), Split(96, 2), Split(6, 8), Split(24, 8))
MARGIN = 0.01


@dataclass(frozen=True)
class Reference:
    """The trials of one algorithm, and the reward of the model that all started from."""

    name: str
    records: Sequence[TrialRecord]
    base: float

    @cached_property
    def random(self) -> dict[Split, TrialRecord]:
        """Trials with random prompts."""
        return {record.split: record for record in self.records if record.selection == "random"}

    @cached_property
    def deviation(self) -> float:
        """Standard deviation of a seed's reward about its trial's mean, pooled."""
        squares = sum(float(np.var(record.rewards)) * len(record.rewards) for record in self.records)
        return float((squares / self.df) ** 0.5)

    @property
    def df(self) -> int:
        return sum(len(record.rewards) - 1 for record in self.records)

    def contrast(self, weighed: Iterable[tuple[TrialRecord, float]]) -> tuple[float, float]:
        """A sum of weighed trial means, and how far its 95% interval reaches to either side."""
        terms = list(weighed)
        value = sum(weight * record.reward for record, weight in terms)
        variance = sum(weight**2 / len(record.rewards) for record, weight in terms)
        return float(value), float(stats.t.ppf(0.975, self.df) * self.deviation * variance**0.5)

    def difference(self, first: Split, second: Split) -> tuple[float, float] | None:
        """The first's reward less the second's; None where one was not trained."""
        if first not in self.random or second not in self.random:
            return None
        return self.contrast([(self.random[first], 1), (self.random[second], -1)])


def read(name: str) -> Reference | None:
    """That study, where it has two trials."""
    path = csv_of(f"reference-{name}")
    if not path.exists() or len(trials := read_trials(path)) < 2:
        return None
    base = yaml.safe_load(path.with_suffix(".yaml").read_text())["base_reward"]
    return Reference(name, trials, float(base))


def said(effect: tuple[float, float] | None) -> str:
    """An effect with its interval, and whether it is seen."""
    if effect is None:
        return "not trained"
    value, reach = effect
    verdict = "seen" if value > reach else "refuted" if value < -reach else "cannot tell"
    return f"{value:+.3f} ({value - reach:+.3f} to {value + reach:+.3f}): {verdict}"


def show_trials(study: Reference) -> None:
    """A line for each trial."""
    print(
        f"{study.name}: base model {study.base:.3f}; a seed deviates by {study.deviation:.3f} ({study.df} df)"
    )
    for record in sorted(study.records, key=lambda one: (one.responses, one.prompts, one.selection)):
        rewards = ", ".join(f"{reward:.3f}" for reward in record.rewards)
        drawn = "" if record.selection == "random" else f" {record.selection}"
        print(f"  {record.split}{drawn}: D {record.diversity:.2f}, {record.reward:.3f} ({rewards})")


def claims(study: Reference) -> dict[str, str]:
    """The paper's claims on this study's trials, as far as they are trained."""
    found = {}
    for cost in sorted({split.prompts * split.responses for split in study.random}):
        at = sorted((s for s in study.random if s.prompts * s.responses == cost), key=lambda s: s.responses)
        for fewer, more in zip(at, at[1:], strict=False):
            found[f"{cost} annotations: {more} less {fewer}"] = said(study.difference(more, fewer))
        if len(at) > 2:
            found[f"{cost} annotations: {at[-1]} less {at[0]}"] = said(study.difference(at[-1], at[0]))
    found |= {f"within k, by {x}": line for x, line in slopes(study).items()}
    found["diverse less narrow, mean over k"] = said(selections(study))
    return found


def slopes(study: Reference) -> dict[str, str]:
    """The slope that all k share (reward per unit), by predictor, with the error at trials left out."""
    fit = fit_trials(list(study.random.values()))
    found = {}
    for predictor in ("diversity", "log prompts"):
        row = fit.row("shared slope", predictor)
        if row is not None:
            slope, low, high = next(iter(row.slopes.values()))
            verdict = said((slope, (high - low) / 2))
            found[predictor] = f"{verdict}; left-out error {row.loo_rmse:.4f}"
    return found


def selections(study: Reference) -> tuple[float, float] | None:
    """Reward of diverse prompts less that of narrow ones, over the splits that have both."""
    chosen = {(r.split, r.selection): r for r in study.records if r.selection != "random"}
    both = [s for s, kind in chosen if kind == "diverse" and (s, "narrow") in chosen]
    if not both:
        return None
    share = 1 / len(both)
    return study.contrast(
        (chosen[split, kind], sign * share)
        for split in both
        for kind, sign in (("diverse", 1), ("narrow", -1))
    )


def same_order(first: Reference, second: Reference) -> str:
    """In how many pairs of splits two algorithms agree which is better."""
    both = [split for split in PRO_ORDERS if split in first.random and split in second.random]
    rewards = [(first.random[split].reward, second.random[split].reward) for split in both]
    agree = [(a[0] - b[0]) * (a[1] - b[1]) > 0 for a, b in combinations(rewards, 2)]
    return f"{sum(agree)} of {len(agree)} pairs of {len(both)} splits in the same order"


def together(studies: Sequence[Reference]) -> dict[str, str]:
    """Equal annotations, the mean over algorithms, and what the largest budget gains over the smallest.

    Algorithms share the draws of prompts, which the interval takes as independent.
    """
    noise = Reference("together", [record for study in studies for record in study.records], studies[0].base)

    def gain(end: tuple[Split, Split], weight: float = 1) -> list[tuple[TrialRecord, float]]:
        share = weight / len(studies)
        signed = zip(end, (share, -share), strict=True)
        return [(study.random[split], sign) for split, sign in signed for study in studies]

    trained = [end for end in ENDS if all(split in study.random for study in studies for split in end)]
    found = {f"{more} less {fewer}": said(noise.contrast(gain((more, fewer)))) for more, fewer in trained}
    if len(trained) > 1:
        growth = [*gain(trained[-1]), *gain(trained[0], -1)]
        found["the last of these less the first"] = said(noise.contrast(growth))
    return found


def longer(steps: Reference, epochs: Reference) -> dict[str, str]:
    """What equal visits to each prompt change against equally many steps, at the same splits."""
    noise = Reference("both", [*steps.records, *epochs.records], steps.base)
    return {
        f"{split}: epochs less steps": said(noise.contrast([(record, 1), (steps.random[split], -1)]))
        for split, record in epochs.random.items()
        if split in steps.random
    }


def predicted(study: Reference) -> dict[str, list[Check]]:
    """Trials as others alone predict them."""
    trials = list(study.random.values())
    small = [_elsewhere(one) if one.cost <= SMALLER else one for one in trials]
    alone = [
        check
        for held in trials
        for check in check_predictions([held, *(_elsewhere(one) for one in trials if one is not held)])
    ]
    first = [_elsewhere(one, sorted(one.seeds)[:SEEDS]) for one in trials]
    return {
        "larger by smaller": list(check_predictions(small)),
        "each by all others": alone,
        "third seeds by the first two": list(check_predictions(first)),
    }


def _elsewhere(record: TrialRecord, seeds: Sequence[int] | None = None) -> TrialRecord:
    """The record with those of its seeds, or all, as trained elsewhere."""
    return replace(record, earlier=dict.fromkeys(record.seeds if seeds is None else seeds, "elsewhere"))


def summary(checks: Sequence[Check]) -> dict[str, Any]:
    """How near predictions came, and how many lie within their 95% intervals."""
    if not checks:
        return {"predictions": 0}
    errors = np.array([check.predicted - check.observed for check in checks])
    widths = np.array([high - low for low, high in (check.interval_95 for check in checks)])
    held = sum(check.held for check in checks)
    exact = stats.binomtest(held, len(checks)).proportion_ci()
    return {
        "predictions": len(checks),
        "rmse": round(float(np.sqrt(np.mean(errors**2))), 4),
        "within": held,
        # Of the share within, by Clopper and Pearson: as if the predictions were independent.
        "coverage_95": [round(float(bound), 3) for bound in exact],
        # Errors over the standard deviations that normal intervals so wide would have: 1 where they fit.
        "scaled_rmse": round(float(np.sqrt(np.mean((errors / widths * 2 * stats.norm.ppf(0.975)) ** 2))), 3),
    }


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
    space = Space(config, max_prompts=192)
    missing = {point.responses for point in space.grid() if point.split not in study.random}
    levels = [k for k in config.search.responses if k not in missing]
    if len(levels) < 2:
        return {}
    search = config.search.model_copy(update={"responses": tuple(levels), "seeds": 1, "plan": "adaptive"})
    space = Space(config.model_copy(update={"search": search}), max_prompts=192)
    truth = interpolated(study)
    ground = Ground(lambda _: truth, study.deviation, responses=tuple(levels), smaller=True)
    whole = GRID_SEEDS * len(space.grid())
    table = {}
    for name, method in (("plan", run_plan), ("grid", run_grid), ("random", run_random)):
        found = []
        for number in range(replays):
            rng = np.random.default_rng(number)
            one = Recorded(ground, space, truth, curve(study), rng)
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


def curve(study: Reference) -> DiversityCurve:
    """D over the prompts, as the trials had it."""
    by_size = {record.prompts: record.diversity for record in study.random.values()}
    sizes = sorted(by_size)
    return DiversityCurve(tuple(sizes), tuple(by_size[size] for size in sizes))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="10 replays")
    parser.add_argument("--replays", type=int, default=100)
    args = parser.parse_args()
    replays = 10 if args.quick else args.replays
    studies = {name: study for name in (*ALGORITHMS, "sft-epochs") if (study := read(name)) is not None}
    found: dict[str, Any] = {}
    for name, study in studies.items():
        show_trials(study)
        checks = predicted(study)
        parts: dict[str, Any] = {"claims": claims(study), "replays": replayed(study, replays)}
        parts["predicted"] = {kind: summary(each) for kind, each in checks.items()}
        for part, table in parts.items():
            for line, value in table.items():
                print(f"  {part} | {line}: {value}")
        for check in checks["larger by smaller"]:
            print(f"  {check.sentence()}")
        found[name] = {"trainings": sum(len(one.rewards) for one in study.records), **parts}
    for first, second in combinations([name for name in ALGORITHMS if name in studies], 2):
        found[f"{first} and {second}"] = same_order(studies[first], studies[second])
        print(f"{first} and {second}: {found[f'{first} and {second}']}")
    if {"sft", "pro"} <= studies.keys():
        found["together"] = together([studies["sft"], studies["pro"]])
        for line, value in found["together"].items():
            print(f"SFT and PRO together, {line}: {value}")
    if {"sft", "sft-epochs"} <= studies.keys():
        found["visits"] = longer(studies["sft"], studies["sft-epochs"])
        for line, value in found["visits"].items():
            print(f"{line}: {value}")
    print(json.dumps({"benchmark": "reference", "replays": replays, **found}))


if __name__ == "__main__":
    main()
