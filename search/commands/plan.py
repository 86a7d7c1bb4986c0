"""`apportion plan`: a split before the first label, from past studies; the next batch after some labels."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from base.errors import ConfigError
from search.commands.cost_options import add_cost_options, cost_model_of
from search.config.cost import CostModel
from search.config.scale import RewardScale, ScaleName, reward_scale
from search.prior.answer import answer
from search.prior.batches import Holding, Predict, next_batch
from search.prior.hierarchy import learn_prior_on
from search.prior.past_studies import PastStudy, learn, past_studies

if TYPE_CHECKING:
    from pools.types import Example
    from search.trials.record import TrialRecord


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments, one --cost.FIELD for each field of the cost model."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--budget", type=float, help="amount to spend, in the cost model's unit: which split?")
    what.add_argument(
        "--learn",
        type=Path,
        metavar="FOLDER",
        help="keep a finished study (or CSV of trials) as a past study",
    )
    what.add_argument(
        "--after", metavar="FOLDER_OR_POOL", help="labels bought so far: what is the next batch of --left?"
    )
    parser.add_argument("--left", type=float, help="with --after: amount left to spend")
    parser.add_argument(
        "--responses", metavar="K,K,...", help="numbers of responses to choose from (default: those tried)"
    )
    parser.add_argument("--max-prompts", type=int, help="prompts that can be had (default: no limit)")
    parser.add_argument("--base-reward", type=float, help="the untrained model's reward, where it is known")
    parser.add_argument("--task", default="", help="count only past studies whose name holds this word")
    parser.add_argument(
        "--scale",
        choices=get_args(ScaleName),
        default="unit",
        help="scale of the rewards: 0 to 1, 0 to 100, or without bounds (a study's folder has its own)",
    )
    parser.add_argument(
        "--margin",
        type=float,
        help="a gain that does not matter (reward; default: 0.002, 0.2 in percent)",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of draws and of the labelling order (0)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="with --after: write the prompts there")
    parser.add_argument("--json", action="store_true", help="print JSON instead of sentences")
    add_cost_options(parser)


def run(args: argparse.Namespace) -> int:
    """Answer; 0 on success."""
    if args.learn is not None:
        return _learn(args.learn)
    return _after(args) if args.after is not None else _before(args)


def _learn(folder: Path) -> int:
    study = learn(folder)
    print(f"learnt {study.name}: {len(study.records)} trials, counted by `apportion plan` from now on")
    return 0


def _before(args: argparse.Namespace) -> int:
    studies = _studies(args.task, args.scale)
    over_base = args.base_reward is not None and any(s.base_reward is not None for s in studies)
    found = answer(
        learn_prior_on(args.scale, studies, over_base=over_base),
        budget=_positive("--budget", args.budget),
        cost_model=cost_model_of(args, {}),
        responses=_responses(args.responses) or _tried(studies),
        max_prompts=args.max_prompts,
        base_reward=args.base_reward if over_base else None,
        margin=args.margin,
        seed=args.seed,
        scale=_scale(args.scale, studies),
    )
    print(json.dumps(found.to_dict(), indent=1) if args.json else found.text())
    return 0


def _studies(task: str, scale: ScaleName) -> list[PastStudy]:
    """Past studies of a task, with rewards on `scale`: percent are hundredths of unit."""
    found = [s for s in past_studies() if (s.scale == "any") == (scale == "any")]
    kept = [study for study in found if task.lower() in study.name.lower()]
    if not kept:
        names = "; ".join(study.name for study in found) or "none: add one with --learn"
        raise ConfigError(
            f"--task {task!r} is in the name of no past study with rewards on --scale {scale}; "
            f"there are {names}"
        )
    return kept


def _scale(name: ScaleName, studies: Sequence[PastStudy]) -> RewardScale:
    return reward_scale(name, (r for study in studies for record in study.records for r in record.rewards))


def _tried(studies: Sequence[PastStudy]) -> list[int]:
    """Every number of responses between the fewest and the most that some study tried, from 2 on."""
    return list(range(max(2, min(s.responses[0] for s in studies)), max(s.responses[1] for s in studies) + 1))


def _after(args: argparse.Namespace) -> int:
    at_hand = _at_hand(args)
    scale = at_hand.scale
    batch = next_batch(
        at_hand.predict,
        at_hand.labelled,
        left=_positive("--left", args.left),
        cost_model=at_hand.cost_model,
        responses=_responses(args.responses) or at_hand.responses,
        raters=at_hand.raters,
        new_prompts=args.max_prompts,
        margin=scale.margin if args.margin is None else args.margin,
        doubt=at_hand.doubt,
        scale=scale,
    )
    if args.json:
        print(json.dumps({"basis": at_hand.basis, **batch.to_dict()}, indent=1))
    else:
        print(f"{at_hand.basis}\n{batch.text()}")
    if args.output is not None and not batch.stop:
        from search.prior.labelling_order import write_order

        written = write_order(args.output, batch, at_hand.examples, args.seed, at_hand.raters_unsaid)
        print(f"{written:,} prompts of the pool, in labelling order: {args.output}", file=sys.stderr)
    return 0


@dataclass(frozen=True)
class _AtHand:
    """Labels at hand, and what predicts the worth of more of them.

    `raters` are the numbers tried, None alone where they were not varied; where they were, `raters_unsaid`
    is how many a response has of which the pool does not say.
    """

    basis: str
    predict: Predict
    labelled: Holding
    examples: Sequence[Example]
    responses: Sequence[int]
    cost_model: CostModel
    scale: RewardScale
    doubt: Predict | None = None
    raters: Sequence[int | None] = (None,)
    raters_unsaid: int | None = None


def _at_hand(args: argparse.Namespace) -> _AtHand:
    folder = Path(args.after)
    return _study(args, folder) if (folder / "trials.csv").exists() else _pool(args)


def _pool(args: argparse.Namespace) -> _AtHand:
    """A pool without trials: past studies predict."""
    studies = _studies(args.task, args.scale)
    examples = _examples(args.after, args.seed)
    names = "; ".join(study.name for study in studies)
    return _AtHand(
        f"prior only, from {len(studies)} studies: {names}",
        learn_prior_on(args.scale, studies).forecast,
        _counts(examples),
        examples,
        _tried(studies),
        cost_model_of(args, {}),
        _scale(args.scale, studies),
    )


def _study(args: argparse.Namespace, folder: Path) -> _AtHand:
    """A study's folder: its trials predict, its pool says what is labelled."""
    from search.commands.recommend import read_study
    from search.fit.fit import fit_trials
    from search.fit.question import predict

    study = read_study(folder)
    fit = fit_trials(study.records, study.scale)
    examples = _examples(_pool_path(folder), args.seed)
    cost_model, levels = cost_model_of(args, study.cost), fit.observed.rater_levels
    varied = len(levels) > 1
    raters_unsaid = cost_model.raters if varied else None
    return _AtHand(
        f"from the {fit.observed.count} trials of {study.name}",
        lambda splits: predict(fit, splits, study.curve),
        _counts(examples, raters_unsaid),
        examples,
        range(fit.observed.levels[0], fit.observed.levels[-1] + 1),
        cost_model,
        fit.scale,
        _doubt(args.task, study.scale, _of_raters(study.records, levels[0]) if varied else study.records),
        levels if varied else (None,),
        raters_unsaid,
    )


def _of_raters(records: Sequence[TrialRecord], raters: int | None) -> list[TrialRecord]:
    """Those with so many raters: past studies would take what further raters add for that of the split."""
    return [record for record in records if record.raters == raters]


def _doubt(task: str, scale: ScaleName, records: Sequence[TrialRecord]) -> Predict | None:
    """Past studies after the trials; None where there are none on a scale without bounds."""
    if scale == "any" and not any(study.scale == "any" for study in past_studies()):
        return None
    return learn_prior_on(scale, _studies(task, scale)).given(records).forecast


def _pool_path(folder: Path) -> str:
    import yaml

    config = folder / "config.yaml"
    if not config.exists():
        raise ConfigError(f"{folder} holds no config.yaml that names its pool: hand over the pool instead")
    return str(yaml.safe_load(config.read_text(encoding="utf-8"))["pool"]["path"])


def _examples(path: str, seed: int) -> Sequence[Example]:
    from pools.config import PoolConfig
    from pools.sources import load_pool

    return load_pool(PoolConfig(path=path, min_responses=0), seed=seed)[0].train


def _counts(examples: Sequence[Example], raters_unsaid: int | None = None) -> Holding:
    from search.prior.labelling_order import labelled_counts

    return labelled_counts(examples, raters_unsaid)


def _positive(name: str, value: float | None) -> float:
    if value is None or not 0 < value < float("inf"):
        raise ConfigError(f"{name} is {value}: a positive amount is needed")
    return value


def _responses(text: str | None) -> list[int]:
    if not text:
        return []
    try:
        found = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise ConfigError(f"--responses {text!r}: numbers separated by commas are needed, as 2,3,4") from None
    if found[0] < 1:
        raise ConfigError(f"--responses {text!r}: every number is 1 or more")
    return found
