"""`apportion recommend`: the split for any budget, from a study folder or a CSV of trials alone."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from base.errors import ConfigError, InsufficientDataError
from search.advice.recommend import recommend
from search.advice.recommendation import Recommendation
from search.config.cost import CostModel
from search.fit.curve import DiversityCurve
from search.fit.fit import Fit, fit_trials
from search.report.report import write_report
from search.trials.shipped import find_trials
from search.trials.trials_csv import read_json, read_trials


@dataclass(frozen=True)
class Ground:
    """What a study left behind, or what a CSV of trials alone tells."""

    name: str
    fit: Fit
    curve: DiversityCurve
    cost: dict[str, Any]
    budget: float | None
    responses: tuple[int, ...]
    max_prompts: int | None
    base_reward: float | None
    seed: int


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments, one --cost.FIELD for each field of the cost model."""
    parser.add_argument(
        "trials", type=Path, help="a study folder, or a CSV with prompts, responses, diversity, reward"
    )
    parser.add_argument(
        "--budget", type=float, help="amount to spend, in the cost model's unit (default: the study's)"
    )
    parser.add_argument(
        "--seed", type=int, help="seed of the draws behind probability_best (default: the study's, or 0)"
    )
    parser.add_argument(
        "--max-prompts", type=int, help="prompts that can be had (default: the study's pool, or no limit)"
    )
    parser.add_argument("--json", action="store_true", help="print recommendation.json instead of sentences")
    parser.add_argument(
        "--report", type=Path, metavar="FOLDER", help="also write report.html and its plots to FOLDER"
    )
    costs = parser.add_argument_group("cost model")
    for name, field in CostModel.model_fields.items():
        costs.add_argument(
            f"--cost.{name}", metavar="VALUE", help=f"{field.description}; default {field.default}"
        )


def run(args: argparse.Namespace) -> int:
    """Print the recommendation; 0 on success."""
    ground = read_ground(args.trials)
    cost_model = _cost_model(args, ground)
    budget = args.budget if args.budget is not None else ground.budget
    if budget is None:
        raise ConfigError(f"--budget is needed: {args.trials} names none")
    answer = recommend(
        ground.fit,
        budget=budget,
        cost_model=cost_model,
        curve=ground.curve,
        responses=ground.responses,
        max_prompts=args.max_prompts or ground.max_prompts,
        seed=args.seed if args.seed is not None else ground.seed,
    )
    if args.report is not None:
        _report(args.report, ground, answer, cost_model)
    print(json.dumps(answer.to_dict(), indent=1) if args.json else _words(ground.fit, answer))
    return 0


def _words(fit: Fit, answer: Recommendation) -> str:
    return "\n".join([fit.summary(), *(view.sentence() for view in answer.cost_models), answer.sentence()])


def read_ground(path: Path) -> Ground:
    """Read a study folder (trials.csv, curve.json, study.json) or a CSV of trials, also one that ships."""
    path = find_trials(path)
    if path.is_dir():
        return _folder(path)
    fit = fit_trials(read_trials(path))
    return Ground(
        path.stem, fit, DiversityCurve.from_trials(fit.records), {}, None, fit.observed.levels, None, None, 0
    )


def _folder(path: Path) -> Ground:
    study = read_json(path / "study.json")
    setting = study.get("setting", {})
    fit = fit_trials([r for r in read_trials(path / "trials.csv") if r.hyperparameters == setting])
    curve = path / "curve.json"
    try:
        return Ground(
            name=str(study["name"]),
            fit=fit,
            curve=DiversityCurve.from_dict(read_json(curve))
            if curve.exists()
            else DiversityCurve.from_trials(fit.records),
            cost=dict(study["cost"]),
            budget=float(study["budget"]),
            responses=tuple(int(k) for k in study["responses"]),
            max_prompts=study["max_prompts"],
            base_reward=study["base_reward"],
            seed=int(study["seed"]),
        )
    except (KeyError, TypeError) as error:
        raise InsufficientDataError(
            f"{path / 'study.json'} lacks a field or holds the wrong kind of value: {error}"
        ) from error


def _cost_model(args: argparse.Namespace, ground: Ground) -> CostModel:
    given = {
        name: value for name in CostModel.model_fields if (value := getattr(args, f"cost.{name}")) is not None
    }
    try:
        return CostModel.model_validate(ground.cost | given)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'prices'}: {e['msg']} (got {e['input']!r})"
            for e in error.errors()
        )
        raise ConfigError(f"cost model: {problems}") from None


def _report(folder: Path, ground: Ground, answer: Recommendation, cost_model: CostModel) -> None:
    path = write_report(
        folder,
        name=ground.name,
        records=ground.fit.records,
        fit=ground.fit,
        recommendation=answer,
        curve=ground.curve,
        base_reward=ground.base_reward,
        cost_model=cost_model,
        notes={},
    )
    print(f"report: {path}", file=sys.stderr)
