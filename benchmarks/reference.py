"""What the reference study says of each claim: `python -m benchmarks.reference [--quick]`.

Reads `studies/reference_*.csv`; nothing is trained. Differences have the 95% interval of Student's t with the
noise that all seeds of their study show. A claim is *seen* where the interval lies on its side of zero,
*refuted* where it lies on the other, else it *cannot tell*.

    trials       the mean reward of each
    claims       the paper's, and the predictions of docs/reference.md
    predicted    the larger half of the budgets by the default fit on the smaller half; each trial by all
                 others, wherever its number of responses lies between theirs; third seeds by the first two
    unused       what the advice of all seeds but one gains in that one, over the mean of the widest splits
                 within the budget, and what it lacks of the best of them (which luck has chosen)
    replays      the product's plan, the grid, random points and Optuna's TPE on the recorded rewards, with
                 noise as large as the seeds show: what the answer lacks of the best recorded reward, and the
                 share of the grid's trainings

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
from scipy import stats

from benchmarks._recorded import Unused, replayed, unused
from benchmarks._reference import Reference, read, said
from search.advice.prediction import Check, check_predictions
from search.config.cost import Split
from search.fit.agreement import paired_agreement
from search.fit.fit import fit_trials
from search.trials.record import TrialRecord

ALGORITHMS = ("sft", "pro", "dpo")
VARIANTS = ("sft-epochs", "sft-averaged")
SEEDS = 2  # of every trial; more came later
SMALLER = 192  # annotations: budgets up to this one predict the larger
# Fewer prompts and more responses against the other end, at 48, 192 and 576 annotations (of 192 prompts).
ENDS = ((Split(6, 8), Split(24, 2)), (Split(24, 8), Split(96, 2)), (Split(72, 8), Split(192, 3)))
ORDERED = (Split(24, 2), Split(96, 2), Split(6, 8), Split(24, 8))
# Further differences that docs/reference.md predicted or names.
PREDICTED = ((Split(192, 8), Split(24, 8)), (Split(24, 8), Split(6, 8)), (Split(192, 8), Split(192, 2)))
# PRO's splits that were trained last, predicted from the others (P11).
LAST = {
    Split(16, 3), Split(64, 3), Split(12, 4), Split(48, 4), Split(8, 6), Split(32, 6), Split(96, 6)
}  # fmt: skip


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
    found |= {f"{more} less {fewer}": said(study.difference(more, fewer)) for more, fewer in PREDICTED}
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


def ranked_alike(first: Reference, second: Reference) -> str:
    """Kendall's tau of two algorithms over the splits that both trained, and the order of four in pairs."""
    both = [split for split in first.random if split in second.random]
    common = set.intersection(*(set(one.random[split].seeds) for one in (first, second) for split in both))
    of_seeds = [[one.random[split].with_seeds(common) for split in both] for one in (first, second)]
    rewards = [[record.rewards for record in records if record] for records in of_seeds]
    ordered = [(first.random[s].reward, second.random[s].reward) for s in ORDERED if s in both]
    agree = [(a[0] - b[0]) * (a[1] - b[1]) > 0 for a, b in combinations(ordered, 2)]
    return (
        f"tau {paired_agreement(*rewards).text()}; {sum(agree)} of {len(agree)} named pairs in the same order"
    )


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
    """What equal visits to each prompt change against equally many steps, at the same splits.

    A split that takes equally many steps either way is the same trainings in both.
    """
    noise = Reference("both", [*steps.records, *epochs.records], steps.base)
    return {
        f"{split}: epochs less steps": said(noise.contrast([(record, 1), (steps.random[split], -1)]))
        for split, record in epochs.random.items()
        if split in steps.random and not set(record.rewards) <= set(steps.random[split].rewards)
    }


def averaged(last: Reference, tail: Reference) -> dict[str, str]:
    """What averaging weights over the tail does, on the splits and seeds of both: to deviation and reward.

    The ratio of deviations has the interval of Snedecor's F, as if both were independent.
    """
    ratio = tail.deviation / last.deviation
    low, high = (ratio / stats.f.ppf(p, tail.df, last.df) ** 0.5 for p in (0.975, 0.025))
    gaps = [
        each.reward - of_seed[each.seed]
        for split, record in tail.random.items()
        for of_seed in [{each.seed: each.reward for each in last.random[split].results}]
        for each in record.results
        if each.seed in of_seed
    ]
    reach = stats.t.ppf(0.975, len(gaps) - 1) * float(np.std(gaps, ddof=1)) / len(gaps) ** 0.5
    return {
        "deviation of a seed": f"{tail.deviation:.3f}, {ratio:.2f} times ({low:.2f} to {high:.2f})",
        f"reward, {len(gaps)} pairs of trainings": said((float(np.mean(gaps)), float(reach))),
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
    others = [one if one.split in LAST else _elsewhere(one) for one in trials]
    return {
        "larger by smaller": list(check_predictions(small)),
        "each by all others": alone,
        "third seeds by the first two": list(check_predictions(first)),
        "PRO's last splits": list(check_predictions(others)) if study.name == "pro" else [],
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
        "correlation": round(_correlation(checks), 2),
        "within": held,
        # Of the share within, by Clopper and Pearson: as if the predictions were independent.
        "coverage_95": [round(float(bound), 3) for bound in exact],
        # Errors over the standard deviations that normal intervals so wide would have: 1 where they fit.
        "scaled_rmse": round(float(np.sqrt(np.mean((errors / widths * 2 * stats.norm.ppf(0.975)) ** 2))), 3),
    }


def _correlation(checks: Sequence[Check]) -> float:
    """Of what was predicted with what came; 0 with fewer than three."""
    if len(checks) < 3:
        return 0.0
    return float(np.corrcoef([[check.predicted, check.observed] for check in checks], rowvar=False)[0, 1])


def gains(found: Sequence[Unused], deviation: float) -> dict[str, str]:
    """Mean gain of the advice on unused trainings, of the best mean's and what the advice lacks of the best.

    The standard error is that of noise alone, as if budgets were independent.
    """

    def mean(values: Iterable[float], parts: Iterable[float]) -> str:
        error = deviation * sum(parts) ** 0.5 / len(found)
        return f"{np.mean(list(values)):+.3f} (standard error {error:.3f}, {len(found)} answers)"

    to_mean = [1 - 1 / len(one.others) for one in found]
    return {
        "advice over the mean of the widest": mean([one.gain for one in found], to_mean),
        "best mean over it": mean([one.best_mean - one.reward + one.gain for one in found], to_mean),
        "best of the widest over the advice": f"{np.mean([one.regret for one in found]):+.3f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="10 replays")
    parser.add_argument("--replays", type=int, default=100)
    args = parser.parse_args()
    replays = 10 if args.quick else args.replays
    studies = {name: study for name in (*ALGORITHMS, *VARIANTS) if (study := read(name)) is not None}
    found: dict[str, Any] = {}
    for name, study in studies.items():
        show_trials(study)
        checks = predicted(study)
        parts: dict[str, Any] = {"claims": claims(study), "replays": replayed(study, replays)}
        parts["predicted"] = {kind: summary(each) for kind, each in checks.items()}
        judged = unused(study) if name in ALGORITHMS else []
        for one in judged:
            print(
                f"  unused seed {one.seed}, {one.budget}: {one.split} {one.reward:.3f}, gain {one.gain:+.3f}"
            )
        parts["unused"] = gains(judged, study.deviation) if judged else {}
        for part, table in parts.items():
            for line, value in table.items():
                print(f"  {part} | {line}: {value}")
        for check in checks["larger by smaller"]:
            print(f"  {check.sentence()}")
        found[name] = {"trainings": sum(len(one.rewards) for one in study.records), **parts}
    for first, second in combinations([name for name in ALGORITHMS if name in studies], 2):
        found[f"{first} and {second}"] = ranked_alike(studies[first], studies[second])
        print(f"{first} and {second}: {found[f'{first} and {second}']}")
    for names in (("sft", "pro"), ALGORITHMS):
        if set(names) <= studies.keys():
            all_of = f"{', '.join(names)} together"
            found[all_of] = together([studies[name] for name in names])
            for line, value in found[all_of].items():
                print(f"{all_of}, {line}: {value}")
    if {"sft", "sft-epochs"} <= studies.keys():
        found["visits"] = longer(studies["sft"], studies["sft-epochs"])
        for line, value in found["visits"].items():
            print(f"{line}: {value}")
    if {"sft", "sft-averaged"} <= studies.keys():
        found["averaged"] = averaged(studies["sft"], studies["sft-averaged"])
        for line, value in found["averaged"].items():
            print(f"averaged weights, {line}: {value}")
    print(json.dumps({"benchmark": "reference", "replays": replays, **found}))


if __name__ == "__main__":
    main()
