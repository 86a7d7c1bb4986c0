"""One trial from point to outcome: draw its prompts, measure their diversity, train and judge on Ray."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metrics.embedding import embed_texts, embedding_baselines
from pools.stored import StoredExamples
from pools.types import Pool
from search.config.hyperparameters import applied
from search.config.study import StudyConfig
from search.execution.draw import choose_orders, mean_baselines, measure, selected
from search.trials.design_point import Point
from search.trials.record import TrialRecord

if TYPE_CHECKING:
    from metrics.reward.fitted import FitSample
    from trainers.spec import Prepared, SeedResult, TrialJob, TrialSetup
    from trainers.workers.context import WorkerContext
    from trainers.workers.worker_pool import WorkerPool

WORK = "trial-"  # begins the name of a trial's work, the rest is its key
_kept_pool: WorkerPool | None = None


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What every trial of a study needs; `pool`, `tokens` and `vectors` lie in Ray's object store.

    `vectors` are the sentence embeddings of the train prompts, None unless a model for them was named and
    the pool is in memory.
    """

    config: StudyConfig
    setup: TrialSetup
    identity: str
    storage: str
    checkpoints: str
    logs: str
    pool: Any
    tokens: Any
    vectors: Any
    board: Any


@dataclass(frozen=True, kw_only=True)
class TrialOutcome:
    """A finished trial: the row for the fit, and what each seed left behind."""

    record: TrialRecord
    point: Point
    seeds: Sequence[SeedResult]


def run_point(point: Point, shared: Shared) -> TrialOutcome:
    """Train and judge `point`, for each of its seeds in turn, as one piece of work for a crew."""
    import ray

    from trainers.spec import TrialJob

    started = time.perf_counter()
    key = point.key(shared.identity)
    pool, tokens = ray.get([shared.pool, shared.tokens])
    orders, pool_ref = choose_orders(pool, tokens, point), shared.pool
    if isinstance(pool.train, StoredExamples):
        pool, tokens, orders = selected(pool, tokens, orders)
        pool_ref = ray.put(pool)
    vectors = ray.get(shared.vectors) if shared.vectors else None
    score, baselines = measure(pool, tokens, orders, vectors)
    facts = {
        "pool": pool.name,
        "split": f"{point.prompts:,} prompts x {point.responses} responses",
        "selection": point.selection,
        "diversity": f"{score:.3f}",
    }
    setup = replace(
        shared.setup,
        trainer=applied(shared.setup.trainer, dict(point.hyperparameters)),
        reward_artifact=ray.get(shared.board.given.remote()),
    )
    job = TrialJob(setup=setup, responses=point.responses, orders=orders, name=f"{WORK}{key}", facts=facts)
    model = None if shared.vectors else shared.config.diversity.embedding_model
    seeds, made = _worker_pool(shared).run(
        lambda context: _work(job, ray.get(pool_ref), model, context), name=job.name, label=point.label
    )
    if made is not None:
        baselines |= mean_baselines(embedding_baselines(made[order]) for order in orders.values())
    record = TrialRecord(
        trial=key,
        prompts=point.prompts,
        responses=point.responses,
        cost=shared.config.cost.cost(point.prompts, point.responses),
        selection=point.selection,
        strength=point.strength,
        hyperparameters=dict(point.hyperparameters),
        diversity=score,
        baselines=baselines,
        seeds=point.seeds,
        rewards=tuple(result.reward for result in seeds),
        domain_rewards=_mean_by_domain(seeds),
        trained_tokens=sum(result.trained_tokens for result in seeds),
        seconds=time.perf_counter() - started,
    )
    return TrialOutcome(record=record, point=point, seeds=seeds)


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
    """Fit the reward model on `sample`, where there is one, and judge the base model."""
    import ray

    setup, pool_ref = shared.setup, shared.pool
    prepared: Prepared = _worker_pool(shared).run(
        lambda context: _prepared(setup, ray.get(pool_ref), sample, context),
        name=f"prepare-{shared.identity}",
        label="base model",
    )
    return prepared


def _prepared(setup: TrialSetup, pool: Pool, sample: FitSample | None, context: WorkerContext) -> Prepared:
    from trainers.trial.job import prepare

    return prepare(setup, pool, sample=sample, context=context)


def _worker_pool(shared: Shared) -> WorkerPool:
    """The workers of this process, which Tune keeps from one trial to the next: they stay as well."""
    global _kept_pool
    if _kept_pool is None:
        from trainers.workers.worker_pool import WorkerPool

        _kept_pool = WorkerPool(
            shared.config.resources,
            storage=shared.checkpoints,
            board=shared.board,
            keep_checkpoints=shared.config.checkpoints.keep,
            logs=shared.logs,
        )
    return _kept_pool


def _mean_by_domain(seeds: Sequence[SeedResult]) -> dict[str, float]:
    return {
        domain: fmean(result.domain_rewards[domain] for result in seeds) for domain in seeds[0].domain_rewards
    }
