"""The end of a study: fit its trials, recommend, and write what it found into the folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from base.errors import ApportionError, InsufficientDataError
from pools.stored import fewest_responses
from pools.types import Pool
from search.advice.recommend import recommend
from search.advice.recommendation import Recommendation
from search.config.study import StudyConfig
from search.fit.fit import Fit, fit_trials
from search.report.report import write_report
from search.study.conductor import Conductor
from search.study.inputs import Material
from search.study.ledger import Ledger


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """What a study found; `fit` and `recommendation` are None where its trials give no ground for them."""

    ledger: Ledger
    fit: Fit | None
    recommendation: Recommendation | None
    why_not: str = ""
    stopped: str = ""


def conclude(material: Material, ledger: Ledger, conductor: Conductor) -> StudyResult:
    """Fit the finished trials of the best setting, recommend, and write every result into the folder."""
    config, pool, folder = ledger.config, material.pool, ledger.folder
    records = conductor.records
    responses = range(1, fewest_responses(pool.train) + 1)
    folder.note_study(**_study_json(config, pool, ledger, responses), **conductor.to_dict())
    if not records:
        reasons = "; ".join(f"{label}: {reason}" for label, reason in ledger.failures.items())
        raise ApportionError(
            f"no trial finished: {reasons or 'none was run'}; what trials printed is in {folder.logs}, "
            "Ray's own logs are under /tmp/ray"
        )
    try:
        fit = fit_trials(records)
        recommendation = recommend(
            fit,
            budget=config.budget,
            cost_model=config.cost,
            curve=material.curve,
            responses=responses,
            max_prompts=len(pool.train),
            seed=config.seed,
        )
    except InsufficientDataError as error:
        return StudyResult(
            ledger=ledger, fit=None, recommendation=None, why_not=str(error), stopped=conductor.reason
        )
    folder.write_json("fit.json", fit.to_dict())
    folder.write_json("recommendation.json", {**recommendation.to_dict(), "base_reward": ledger.base_reward})
    write_report(
        folder.path,
        name=config.name,
        records=records,
        fit=fit,
        recommendation=recommendation,
        curve=material.curve,
        base_reward=ledger.base_reward,
        cost_model=config.cost,
        notes=_notes(config, pool, ledger) | conductor.notes(recommendation.best.split),
    )
    return StudyResult(ledger=ledger, fit=fit, recommendation=recommendation, stopped=conductor.reason)


def _study_json(config: StudyConfig, pool: Pool, ledger: Ledger, responses: range) -> dict[str, Any]:
    return {
        "name": config.name,
        "seed": config.seed,
        "base_reward": ledger.base_reward,
        "budget": config.budget,
        "cost": config.cost.model_dump(mode="json"),
        "responses": list(responses),
        "max_prompts": len(pool.train),
        "failures": ledger.failures,
    }


def _notes(config: StudyConfig, pool: Pool, ledger: Ledger) -> dict[str, Any]:
    dev = {}
    if config.evaluation.dev_prompts:
        judge = (config.dev_reward or config.reward).source
        same = "" if config.dev_reward else ", the same model that gives the test rewards"
        dev["checkpoints"] = f"chosen on {config.evaluation.dev_prompts} dev prompts by {judge}{same}"
    return {
        "pool": pool.description or pool.name,
        "held-out prompts": len(pool.held_out),
        "model": config.model.name,
        "algorithm": config.trainer.algorithm.name,
        "matching": config.trainer.matched,
        "reward": f"{config.reward.source}; a model's judgement, not people's",
        **dev,
        **dict(line.split(": ", 1) for line in ledger.reward_lines()),
    }
