"""One trial from plan to record: draw its prompts, measure their diversity, train and judge on Ray."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from base.timeline import Timeline
from metrics.embedding import embed_texts, embedding_baselines
from pools.raters import RaterLabels
from pools.types import Pool
from search.config.cost import CostModel
from search.config.hyperparameters import applied
from search.config.transfer import MODEL
from search.execution.board import BASE
from search.execution.draw import choose_orders, mean_baselines, measure, selected
from search.trials.design_point import DesignPoint, Trial
from search.trials.record import TrialRecord
from trainers.config.trainer import ResourcesConfig

if TYPE_CHECKING:
    from metrics.reward.fitted import FitSample
    from trainers.spec import Prepared, SeedResult, TrialJob, TrialSetup
    from trainers.workers.context import WorkerContext
    from trainers.workers.worker_pool import WorkerPool

WORK = "trial-"  # begins the name of a trial's work, the rest is its key
PREPARE = "prepare-"  # and the work before the first trial, the rest is the study's identity
TUNE = "tune"  # where Ray Tune keeps files of its own
_kept_pool: WorkerPool | None = None


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What every trial of a study needs; `pool`, `tokens` and `vectors` lie in Ray's object store.

    `vectors` are the sentence embeddings of the train prompts, None unless a model for them was named and
    the pool is in memory. `rater_error` as in `pools.raters.RaterLabels`.
    """

    setup: TrialSetup
    cost: CostModel
    resources: ResourcesConfig
    embedding_model: str | None
    identity: str
    storage: str
    checkpoints: str
    logs: str
    timeline: Timeline
    pool: Any
    tokens: Any
    vectors: Any
    board: Any
    rater_error: float | None = None


def execute(trial: Trial, shared: Shared) -> TrialRecord:
    """Train and judge `trial`, for each of its seeds in turn, as one task of the worker pool."""
    import ray

    from trainers.spec import TrialJob

    started, point, key = time.perf_counter(), trial.point, trial.key(shared.identity)
    pool, tokens = ray.get([shared.pool, shared.tokens])
    orders, pool_ref = choose_orders(pool, tokens, trial), shared.pool
    artifact = ray.get(shared.board.reward_artifact.remote())
    if pool.train.folder:
        pool, tokens, orders = selected(pool, tokens, orders)
        pool_ref = ray.put(pool)
    vectors = ray.get(shared.vectors) if shared.vectors else None
    score, baselines = measure(pool, tokens, orders, vectors)
    facts = {
        "pool": pool.name,
        "split": f"{point.prompts:,} prompts x {point.responses} responses",
        **_labelling(point),
        "selection": point.selection,
        "diversity": f"{score:.3f}",
    }
    job = TrialJob(
        setup=replace(setup_at(point, shared.setup), reward_artifact=artifact),
        responses=point.responses,
        orders=orders,
        choice=point.response_choice,
        human_share=point.human_share,
        labels=None if point.raters is None else RaterLabels(point.raters, shared.rater_error),
        name=f"{WORK}{key}",
        facts=facts,
    )
    model = None if shared.vectors else shared.embedding_model
    results, made = _worker_pool(shared).run(
        lambda context: _work(job, ray.get(pool_ref), model, context), name=job.name, label=trial.label
    )
    if made is not None:
        baselines |= mean_baselines(embedding_baselines(made[order]) for order in orders.values())
    return TrialRecord(
        trial=key,
        point=point,
        cost=shared.cost.of(point.split),
        diversity=score,
        baselines=baselines,
        results=tuple(results),
        seconds=time.perf_counter() - started,
    )


def setup_at(point: DesignPoint, setup: TrialSetup) -> TrialSetup:
    """The study's setup with the point's hyperparameters, of another model where the point names one.

    A fitted reward model goes on reading the features of the study's own model.
    """
    chosen = dict(point.hyperparameters)
    model = chosen.pop(MODEL, None)
    setup = replace(setup, trainer=applied(setup.trainer, chosen))
    if model is None:
        return setup
    other = setup.model.model_copy(update={"name": model})
    return replace(setup, model=other, reward_base=setup.model.name)


def _labelling(point: DesignPoint) -> dict[str, str]:
    """What a model card says of the labels; nothing where they are the pool's scores of random responses."""
    found = {} if point.response_choice == "random" else {"choice of responses": str(point.response_choice)}
    found |= {"labels": point.labelling.labels} if point.human_share is not None else {}
    if point.raters is None:
        return found
    whose = "of the pool's own" if point.agreement is None else f"assumed agreement {point.agreement:g}"
    return {**found, "raters per response": f"{point.raters} ({whose})"}


def _work(
    job: TrialJob, pool: Pool, model: str | None, context: WorkerContext
) -> tuple[list[SeedResult], NDArray[np.float32] | None]:
    """The trial, and the embeddings of the train prompts where a `model` for them is given."""
    from trainers.trial.job import run_trial

    seeds = run_trial(job, pool, context)
    if model is None or context.rank:
        return seeds, None
    return seeds, embed_texts([example.prompt.text for example in pool.train], model)


def judge_base(shared: Shared, sample: FitSample | None) -> Prepared:
    """Fit the reward model on `sample`, where there is one, and judge the base model, before the first trial.

    By the workers that run trials in this process afterwards. Raises TrainingError with the worker's own
    message.
    """
    import ray

    setup, pool_ref = shared.setup, shared.pool
    prepared: Prepared = _worker_pool(shared).run(
        lambda context: _prepared(setup, ray.get(pool_ref), sample, context),
        name=PREPARE + shared.identity,
        label=BASE,
    )
    return prepared


def _prepared(setup: TrialSetup, pool: Pool, sample: FitSample | None, context: WorkerContext) -> Prepared:
    from trainers.trial.job import prepare

    return prepare(setup, pool, sample=sample, context=context)


def _worker_pool(shared: Shared) -> WorkerPool:
    """The workers of this process, which Tune keeps from one trial to the next: they stay as well."""
    global _kept_pool
    if _kept_pool is None:
        shared.timeline.reach("a trial's process up")
        from trainers.workers.worker_pool import WorkerPool

        _kept_pool = WorkerPool(
            shared.resources,
            storage=shared.checkpoints,
            board=shared.board,
            keep_checkpoints=shared.setup.checkpoints.keep,
            logs=shared.logs,
            timeline=shared.timeline,
        )
    return _kept_pool
