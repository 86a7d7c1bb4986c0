"""Is an answer from past studies alone worth more than a habit, and does a study that starts from it gain?

    python -m benchmarks.prior [--quick] [--replays 20]

Each past study in `studies/` is left out in turn, with every other one of its algorithm and model, and the
rest answer for it. *Prior only*: at the budgets and prices whose splits lie within the study's own prompts,
the true reward of each split is the printed one (straight in log prompts between them), and regret is what
the chosen split misses against the best. The habits are always 2 responses and always the most. *Coverage*:
the share of printed rewards within the 95% interval, the noise of a seed included. *With a prior*: the plan
on the grounds of `benchmarks.search` with past studies as one more model of its fit (`search.prior: studies`)
and without; samples until the answer is right for good, as shares of the full grid's.
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna

from benchmarks import search
from search.config.cost import CostModel, Split, feasible_splits
from search.prior.candidate import from_past_studies
from search.prior.hierarchy import Prior, learn_prior
from search.prior.past_studies import PastStudy, past_studies

PRICES = {
    "annotations": CostModel(),
    "comparisons": CostModel(per_annotation=0, per_comparison=1, unit="comparisons"),
    "prompts dear": CostModel(per_prompt=4),
}
BUDGETS = (6_000, 9_000, 12_000, 18_000, 24_000, 36_000, 48_000, 72_000, 96_000, 144_000)


def family(name: str) -> str:
    """Algorithm and model of a study: `Song 2024: PRO, OPT-1.3B` of `Song 2024: PRO, OPT-1.3B, Helpful`."""
    return ",".join(name.split(",")[:2])


def truth(study: PastStudy) -> Callable[[Split], float]:
    """The printed reward at a split, interpolated in log prompts."""
    found: dict[int, dict[int, float]] = {}
    for record in study.records:
        found.setdefault(record.responses, {})[record.prompts] = record.reward

    def at(split: Split) -> float:
        sizes = sorted(found[split.responses])
        rewards = [found[split.responses][n] for n in sizes]
        return float(np.interp(np.log(split.prompts), np.log(sizes), rewards))

    return at


def questions(study: PastStudy) -> list[tuple[str, list[Split]]]:
    """The splits of every budget and price that lie within the study's own prompts."""
    levels = sorted({record.responses for record in study.records})
    low, high = study.prompts
    found = []
    for name, prices in PRICES.items():
        for budget in BUDGETS:
            splits = feasible_splits(prices, budget, responses=levels)
            if len(splits) == len(levels) and all(low <= split.prompts <= high for split in splits):
                found.append((name, splits))
    return found


def regrets(study: PastStudy, prior: Prior) -> list[dict[str, Any]]:
    """What each way of choosing misses, for every question."""
    at, found = truth(study), []
    for name, splits in questions(study):
        rewards = [at(split) for split in splits]
        chosen = int(prior.forecast(splits).mean.argmax())
        best = max(rewards)
        found.append(
            {
                "prices": name,
                "prior": best - rewards[chosen],
                "always 2": best - rewards[0],
                "always the most": best - rewards[-1],
            }
        )
    return found


def covered(study: PastStudy, prior: Prior) -> list[bool]:
    """Whether each printed reward lies within its 95% interval."""
    forecast = prior.forecast([r.split for r in study.records])
    low, high = forecast.interval(extra=prior.seed_variance / study.averaged)
    rewards = np.array([record.reward for record in study.records])
    return list(map(bool, (low <= rewards) & (rewards <= high)))


GROUNDS = {
    "Figure 4, PRO": "Song 2024: PRO, OPT-1.3B",
    "Figure 4, SFT": "Song 2024: SFT, OPT-1.3B",
    "Table 1, PRO, OPT-1.3B, Harmless": "Song 2024: PRO, OPT-1.3B",
    "Table 1, PRO, OPT-1.3B, Helpful": "Song 2024: PRO, OPT-1.3B",
    "Table 1, PRO, LLaMA-7B": "Song 2024: PRO, LLaMA-7B",
    "Table 1, SFT, LLaMA-7B": "Song 2024: SFT, LLaMA-7B",
}


def with_and_without(name: str, prior: Prior, replays: int) -> dict[str, float | None]:
    """The plan with past studies in its fit, and without: samples until right for good, and how many were.

    Samples are means over the replays that were right in the end both ways; `saved` is the mean of without
    less with, and its standard error.
    """
    ways = ((), (from_past_studies(prior),))
    found = [[search.replay(name, "plan", number, 1, way) for way in ways] for number in range(replays)]
    table = np.array([[each["samples until right"] for each in pair] for pair in found])
    both = table[np.isfinite(table).all(axis=1)]
    saved = both[:, 0] - both[:, 1]
    without, with_prior = map(float, both.mean(axis=0)) if len(both) else (None, None)
    return {
        "without": without,
        "with": with_prior,
        "saved": float(saved.mean()) if len(both) else None,
        "saved, standard error": float(saved.std(ddof=1) / len(both) ** 0.5) if len(both) > 1 else None,
        "right without": float(np.isfinite(table[:, 0]).mean()),
        "right with": float(np.isfinite(table[:, 1]).mean()),
        "decided wrongly without": float(np.mean([pair[0]["decided wrongly"] for pair in found])),
        "decided wrongly with": float(np.mean([pair[1]["decided wrongly"] for pair in found])),
    }


def prior_only(studies: Sequence[PastStudy]) -> dict[str, Any]:
    """Regret and coverage of every study left out, and their means."""
    rows, within = [], []
    for study in studies:
        prior = learn_prior([other for other in studies if family(other.name) != family(study.name)])
        own = regrets(study, prior)
        rows += own
        within += covered(study, prior)
        if own:
            means = {key: float(np.mean([row[key] for row in own])) for key in own[0] if key != "prices"}
            print(study.name, len(own), "questions;", {key: round(value, 4) for key, value in means.items()})
    keys = ("prior", "always 2", "always the most")
    by_price = {
        name: {key: float(np.mean([row[key] for row in rows if row["prices"] == name])) for key in keys}
        for name in PRICES
        if any(row["prices"] == name for row in rows)
    }
    whole = {key: float(np.mean([row[key] for row in rows])) for key in keys}
    return {
        "regret": whole,
        "by prices": by_price,
        "questions": len(rows),
        "coverage": float(np.mean(within)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="3 replays a ground instead of 20")
    parser.add_argument("--replays", type=int, default=20)
    parser.add_argument("--grounds", nargs="+", default=list(search.grounds()), choices=search.grounds())
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    studies, replays = past_studies(), 3 if args.quick else args.replays
    found = prior_only(studies)
    print(f"prior only: {json.dumps(found)}", flush=True)
    pairs = {}
    for name in args.grounds:
        prior = learn_prior([study for study in studies if family(study.name) != GROUNDS.get(name)])
        pairs[name] = with_and_without(name, prior, replays)
        print(f"{name}: {pairs[name]}", flush=True)
    print(json.dumps({"baseline": "always 2, always the most", **found, "replays": replays, "study": pairs}))


if __name__ == "__main__":
    main()
