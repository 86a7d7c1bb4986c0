"""`apportion recommend`: the split for any budget, from a study folder or a CSV of trials alone."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from base.errors import ConfigError, InsufficientDataError
from search.advice.analysis import StudyAnalysis, analyse
from search.advice.recommendation import Recommendation
from search.advice.visits import Visits
from search.commands.cost_options import add_cost_options, cost_model_of
from search.config.scale import ScaleName
from search.fit.curve import DiversityCurve
from search.fit.fit import Fit
from search.fit.question import Question
from search.prior.candidate import further_models
from search.report.report import write_report
from search.study.folder import StudyFolder
from search.study.source import csv_source, visits_of, with_results
from search.trials.record import TrialRecord, pooled
from search.trials.shipped import find_trials
from search.trials.trials_csv import read_json, read_trials, scale_of
from trainers.config.trainer import TrainerConfig


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
    parser.add_argument(
        "--margin",
        type=float,
        help="difference of reward that does not matter (default: the study's; or 0.002 of 0 to 1, 0.2 of "
        "percent, a hundredth of the spread of other rewards)",
    )
    parser.add_argument(
        "--scale",
        choices=("unit", "percent", "any"),
        help="scale of the rewards: 0 to 1, 0 to 100, or without bounds (default: by the rewards)",
    )
    parser.add_argument("--json", action="store_true", help="print recommendation.json instead of sentences")
    parser.add_argument(
        "--report", type=Path, metavar="FOLDER", help="also write report.html and its plots to FOLDER"
    )
    add_cost_options(parser)


def run(args: argparse.Namespace) -> int:
    """Print the recommendation; 0 on success."""
    study = read_study(args.trials)
    budget = args.budget if args.budget is not None else study.budget
    if budget is None:
        raise ConfigError(f"--budget is needed: {args.trials} names none")
    question = Question(
        budget,
        cost_model_of(args, study.cost),
        study.curve,
        study.responses,
        args.max_prompts or study.max_prompts,
        most_responses=study.most_responses,
    )
    seed = args.seed if args.seed is not None else study.seed
    found = analyse(
        study.name,
        study.records,
        question,
        seed=seed,
        base_reward=study.base_reward,
        scale=args.scale or study.scale,
        margin=args.margin if args.margin is not None else study.margin,
        visits=study.visits,
        further=further_models(study.prior),
        elsewhere=study.elsewhere,
    )
    if found.fit is None or found.recommendation is None:
        raise InsufficientDataError(found.why_not)
    if args.report is not None:
        print(f"report: {write_report(args.report, found)}", file=sys.stderr)
    if args.json:
        print(json.dumps(found.results()["recommendation.json"], indent=1))
    else:
        print(_words(found.fit, found.recommendation, found))
    return 0


def _words(fit: Fit, answer: Recommendation, found: StudyAnalysis) -> str:
    views = (view.sentence() for view in answer.cost_models)
    return "\n".join([answer.sentence(), *_base(answer, found), "", fit.summary(), *_noise(found), *views])


def _base(answer: Recommendation, found: StudyAnalysis) -> list[str]:
    """The base model beside the answer, where its reward is known."""
    if found.base_reward is None:
        return []
    text, base = answer.scale.text, found.base_reward
    lift = text(answer.best.predicted_reward - base, sign=True)
    return [f"Over the base model, whose reward is {text(base)}: {lift}.", *found.not_above_base()]


def _noise(found: StudyAnalysis) -> list[str]:
    """Where the noise comes from, where that is known."""
    return ["", *found.noise.lines, ""] if found.noise else []


@dataclass(frozen=True, kw_only=True)
class FinishedStudy:
    """What a study left behind in its folder, or what a CSV of trials alone holds."""

    name: str
    records: Sequence[TrialRecord]
    curve: DiversityCurve
    responses: tuple[int, ...]
    most_responses: int | None = None
    cost: Mapping[str, Any] = field(default_factory=dict)
    budget: float | None = None
    max_prompts: int | None = None
    base_reward: float | None = None
    seed: int = 0
    scale: ScaleName = "unit"
    margin: float | None = None
    visits: Visits = None
    prior: Literal["none", "studies"] = "none"
    elsewhere: Sequence[TrialRecord] = ()


def read_study(path: Path) -> FinishedStudy:
    """Read a study folder (trials.csv, curve.json, study.json) or a CSV of trials, also one that ships."""
    path = find_trials(path)
    if path.is_dir():
        return _folder(path)
    return _table(path)


def _table(path: Path) -> FinishedStudy:
    """A CSV of trials; a file beside it may say how they were made, at which prices, for which budget."""
    source = csv_source(path, path.stem)
    made = source.configuration or {}
    return FinishedStudy(
        name=path.stem,
        records=source.records,
        curve=DiversityCurve.from_trials(source.records),
        responses=tuple(sorted({record.responses for record in source.records})),
        most_responses=source.pool_responses,
        cost=made.get("cost", {}),
        budget=made.get("budget"),
        max_prompts=source.pool_prompts,
        base_reward=source.base_reward,
        seed=made.get("seed", 0),
        scale=scale_of(path, source.records),
        margin=made.get("search", {}).get("practical_margin"),
        visits=_visits(made),
    )


def _visits(configuration: Mapping[str, Any]) -> Visits:
    """Visits to prompts of every training; None where nobody wrote down how long they were."""
    try:
        return visits_of(TrainerConfig.model_validate(configuration["trainer"]))
    except (KeyError, ValidationError, ConfigError):
        return None


def _folder(path: Path) -> FinishedStudy:
    study, curve = read_json(path / "study.json"), path / "curve.json"
    best = study.get("hyperparameters", {})
    kept = StudyFolder(path)
    table = with_results(read_trials(path / "trials.csv"), kept)
    records = [record for record in table if record.hyperparameters == best]
    try:
        return FinishedStudy(
            name=str(study["name"]),
            records=records,
            elsewhere=[r for r in table if r.hyperparameters != best] + pooled(kept.transferred().values()),
            curve=DiversityCurve.from_dict(read_json(curve))
            if curve.exists()
            else DiversityCurve.from_trials(records),
            cost=dict(study["cost"]),
            budget=float(study["budget"]),
            responses=tuple(int(k) for k in study["responses"]),
            most_responses=max(map(int, study["responses"])),
            max_prompts=study["max_prompts"],
            base_reward=study["base_reward"],
            seed=int(study["seed"]),
            margin=study.get("margin"),
            visits=study.get("visits"),
            prior=study.get("prior", "none"),
        )
    except (KeyError, TypeError) as error:
        raise InsufficientDataError(
            f"{path / 'study.json'} lacks a field or holds the wrong kind of value: {error}"
        ) from error
