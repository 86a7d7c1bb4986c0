"""The end of a study: analyse its trials, and write what was found into the folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from base.errors import ApportionError
from pools.types import Pool
from search.advice.analysis import StudyAnalysis, analyse
from search.advice.carry_over import CarryOver, carry_over
from search.advice.tuning import PerSplit, per_split
from search.config.study import StudyConfig
from search.fit.question import Question
from search.report.report import write_report
from search.study.conductor import Conductor
from search.study.earlier import told
from search.study.inputs import Inputs
from search.study.ledger import Ledger
from search.study.source import visits_of
from search.trials.record import TrialRecord, pooled


def conclude(config: StudyConfig, inputs: Inputs, ledger: Ledger, conductor: Conductor) -> StudyAnalysis:
    """Analyse the finished trials with the best hyperparameters; write every result into the folder.

    Raises ApportionError where no trial has finished.
    """
    pool, folder, records = inputs.pool, ledger.folder, conductor.records
    most = min(pool.train.sizes())
    responses = tuple(range(1, most + 1))
    question = Question(
        config.budget, config.cost, inputs.curve, responses, len(pool.train), most_responses=most
    )
    folder.note_study(**_study_json(config, question, ledger), **conductor.to_dict())
    if not records:
        reasons = "; ".join(f"{label}: {reason}" for label, reason in ledger.failures.items())
        raise ApportionError(
            f"no trial finished: {reasons or 'none was run'}; what trials printed is in {folder.logs}, "
            "Ray's own logs are under /tmp/ray"
        )
    ask = partial(
        analyse,
        config.name,
        records,
        question,
        seed=config.seed,
        base_reward=ledger.base_reward,
        notes=_notes(config, pool) | _earlier_notes(ledger) | ledger.reward_notes(),
        margin=config.search.practical_margin,
        visits=visits_of(config.trainer),
        base=ledger.base,
        elsewhere=_elsewhere(ledger, records),
    )
    study = ask(further=conductor.plan.further)
    if study.recommendation is None:
        return study
    compared = _beside_past_studies(study, ask()) if conductor.plan.further else {}
    study = replace(
        study,
        notes={**study.notes, **conductor.notes(study.recommendation.best.split), **compared},
        carried=_carried(study, config, ledger, conductor),
        reward_doubt=ledger.reward_doubt,
        tuned=_tuned(study, config, conductor),
    )
    for name, content in study.results().items():
        folder.write_json(name, content)
    write_report(folder.path, study)
    return study


def _elsewhere(ledger: Ledger, records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The trials that do not answer the question: other hyperparameters, other settings."""
    used = {(record.point.hyperparameters, record.group) for record in records}
    every = [*ledger.earlier, *ledger.finished_trials.values(), *ledger.transferred.values()]
    return pooled(r for r in every if (r.point.hyperparameters, r.group) not in used)


def _carried(
    study: StudyAnalysis, config: StudyConfig, ledger: Ledger, conductor: Conductor
) -> CarryOver | None:
    """What the trials under other settings say of the recommendation."""
    if study.fit is None or study.recommendation is None:
        return None
    return carry_over(
        pooled(ledger.transferred.values()),
        study.fit,
        study.question,
        study.recommendation.best.split,
        asked=[setting.name for setting in config.transfer.settings],
        further_rewards=bool(config.further_rewards),
        target_parameters=config.transfer.target_parameters,
        margin=study.recommendation.margin,
        confidence=config.search.confidence,
        seed=config.seed,
    )


def _tuned(study: StudyAnalysis, config: StudyConfig, conductor: Conductor) -> PerSplit | None:
    """What was tuned split by split, and the advice without that."""
    if study.fit is None or study.recommendation is None or not conductor.plan.per_split:
        return None
    return per_split(
        conductor.tuned,
        conductor.plan.hyperparameters(conductor.progress),
        study.fit,
        study.recommendation.best.split,
        conductor.plan.records_once(conductor.progress),
        study.question,
        seed=config.seed,
        margin=study.recommendation.margin,
    )


def _beside_past_studies(study: StudyAnalysis, alone: StudyAnalysis) -> dict[str, str]:
    """What past studies weigh in the answer, and the answer of these trials alone."""
    members = study.fit.ensemble.members if study.fit and study.fit.ensemble else ()
    weight = sum(member.weight for member in members if member.model.structure == "past studies")
    without = alone.recommendation.sentence() if alone.recommendation else f"none ({alone.why_not})"
    return {"past studies": f"weigh {weight:.2f} of the average (search.prior). Without them: {without}"}


def _study_json(config: StudyConfig, question: Question, ledger: Ledger) -> dict[str, Any]:
    return {
        "name": config.name,
        "seed": config.seed,
        "base_reward": ledger.base_reward,
        "budget": question.budget,
        "cost": question.cost_model.model_dump(mode="json"),
        "responses": list(question.responses),
        "max_prompts": question.max_prompts,
        "failures": ledger.failures,
        "margin": config.search.practical_margin,
        "prior": config.search.prior,
        "visits": visits_of(config.trainer),
    }


def _earlier_notes(ledger: Ledger) -> dict[str, str]:
    earlier = told(ledger.earlier)
    return {"earlier trials": f"{earlier}, made elsewhere"} if earlier else {}


def _notes(config: StudyConfig, pool: Pool) -> dict[str, str]:
    dev = {}
    if config.evaluation.dev_prompts:
        judge = (config.dev_reward or config.reward).source
        same = "" if config.dev_reward else ", the same model that gives the test rewards"
        dev["checkpoints"] = f"chosen on {config.evaluation.dev_prompts} dev prompts by {judge}{same}"
    further = ", ".join(one.source for one in config.further_rewards)
    return {
        "pool": pool.description or pool.name,
        "held-out prompts": f"{len(pool.held_out)}",
        "model": config.model.name,
        "algorithm": config.trainer.algorithm.name,
        "matching": config.trainer.matched,
        "reward": f"{config.reward.source}; a model's judgement, not people's",
        **({"further rewards": further} if further else {}),
        **dev,
        **_raters_note(config),
        **_choices_note(config),
        **_kinds_note(config),
    }


def _choices_note(config: StudyConfig) -> dict[str, str]:
    """Which responses were labelled; nothing where they were drawn at random."""
    choices = config.search.response_choices
    return {} if choices == ("random",) else {"choices of responses": ", ".join(choices)}


def _kinds_note(config: StudyConfig) -> dict[str, str]:
    """Whose labels there were, and who judges; nothing where kinds of labels are not told apart."""
    if not config.search.labels:
        return {}
    whose = "fitted" if config.reward.kind == "fitted" else "not fitted"
    return {
        "kinds of labels": f"{', '.join(config.search.labels)}; held-out answers are judged by "
        f"{config.reward.source}, {whose} on people's scores"
    }


def _raters_note(config: StudyConfig) -> dict[str, str]:
    """Whose labels the trials were trained on; nothing where those are the pool's scores."""
    if config.raters == (None,):
        return {}
    if config.search.agreement is None:
        return {"raters": "each seed draws them from those who rated a prompt, as many as a trial asks for"}
    share = config.search.agreement
    return {"raters": f"simulated, assumed agreement {share:g}: one rater orders so many pairs as the scores"}
