"""One trial from point to outcome: draw its prompts, measure their diversity, train and judge on Ray."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from metrics.diversity import diversity
from metrics.embedding import embed_texts, embedding_rivals
from metrics.rivals import all_rivals
from metrics.tokens import TokenTable
from pools.stored import StoredExamples, excerpt, keys_of
from pools.subset import ranking
from pools.types import Pool
from search.config import StudyConfig
from search.record import TrialRecord
from search.settings import applied
from search.space import Point

if TYPE_CHECKING:
    from metrics.reward.fitted import FitSample
    from trainers.context import WorkerContext
    from trainers.ray_job import Crew
    from trainers.spec import Prepared, SeedResult, Setting, TrialJob

_kept_crew: Crew | None = None


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What every trial of a study needs; `pool`, `tokens` and `vectors` lie in Ray's object store.

    `vectors` are the sentence embeddings of the train prompts, None unless a model for them was named and
    the pool is in memory.
    """

    config: StudyConfig
    setting: Setting
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


def choose_orders(pool: Pool, tokens: TokenTable, point: Point) -> dict[int, list[int]]:
    """For each seed of `point`, which prompts it labels: indices into `pool.train`, in labelling order."""
    if point.selection == "random":
        return {seed: ranking(keys_of(pool.train), seed)[: point.prompts].tolist() for seed in point.seeds}
    from metrics.ngrams import pack_ngrams
    from pools.selection import select_order

    grams = pack_ngrams(tokens, 2)
    orders = {}
    for seed in point.seeds:
        chosen, _ = select_order(
            grams,
            tokens.lengths,
            kind=point.selection,
            strength=point.strength,
            seed=seed,
            prompts=point.prompts,
            shuffled=ranking(keys_of(pool.train), seed),
        )
        orders[seed] = [int(index) for index in chosen]
    return orders


def selected(
    pool: Pool, tokens: TokenTable, orders: Mapping[int, Sequence[int]]
) -> tuple[Pool, TokenTable, dict[int, list[int]]]:
    """The train prompts that any of `orders` labels, in memory, with their tokens, and the orders among them.

    That is all that a trial's workers need of a pool that lies on the head's disk.
    """
    rows = sorted({index for order in orders.values() for index in order})
    places = {index: place for place, index in enumerate(rows)}
    moved = {seed: [places[index] for index in order] for seed, order in orders.items()}
    return excerpt(pool, rows), tokens.take(rows), moved


def measure(
    pool: Pool,
    tokens: TokenTable,
    orders: Mapping[int, Sequence[int]],
    vectors: NDArray[np.float32] | None = None,
) -> tuple[float, dict[str, float]]:
    """Diversity of the selected prompts, and its rivals by name, each averaged over the seeds' draws.

    `vectors` [train prompts, width] add the rivals that look at sentence embeddings.
    """
    scores, rivals = [], []
    for order in orders.values():
        subset = tokens.take(order)
        scores.append(diversity(subset))
        found = all_rivals(subset, [pool.train[i].prompt.text for i in order])
        rivals.append(found | ({} if vectors is None else embedding_rivals(vectors[list(order)])))
    return fmean(scores), mean_rivals(rivals)


def mean_rivals(draws: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Rivals by name, each averaged over the draws."""
    values = defaultdict(list)
    for draw in draws:
        for name, value in draw.items():
            values[name].append(value)
    return {name: fmean(each) for name, each in values.items()}


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
    score, rivals = measure(pool, tokens, orders, vectors)
    facts = {
        "pool": pool.name,
        "split": f"{point.prompts:,} prompts x {point.responses} responses",
        "selection": point.selection,
        "diversity": f"{score:.3f}",
    }
    setting = replace(
        shared.setting,
        trainer=applied(shared.setting.trainer, dict(point.settings)),
        reward_artifact=ray.get(shared.board.given.remote()),
    )
    job = TrialJob(
        setting=setting, responses=point.responses, orders=orders, name=f"trial-{key}", facts=facts
    )
    model = None if shared.vectors else shared.config.diversity.embedding_model
    seeds, made = _crew(shared).run(
        lambda context: _work(job, ray.get(pool_ref), model, context), name=job.name, label=point.label
    )
    if made is not None:
        rivals |= mean_rivals(embedding_rivals(made[order]) for order in orders.values())
    record = TrialRecord(
        trial=key,
        prompts=point.prompts,
        responses=point.responses,
        cost=shared.config.cost.cost(point.prompts, point.responses),
        selection=point.selection,
        strength=point.strength,
        settings=dict(point.settings),
        diversity=score,
        rivals=rivals,
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
    from trainers.job import run_trial

    seeds = run_trial(job, pool, context)
    if model is None or context.rank:
        return seeds, None
    return seeds, embed_texts([example.prompt.text for example in pool.train], model)


def judge_base(shared: Shared, sample: FitSample | None) -> Prepared:
    """Fit the reward model on `sample`, where there is one, and judge the base model."""
    import ray

    setting, pool_ref = shared.setting, shared.pool
    prepared: Prepared = _crew(shared).run(
        lambda context: _prepared(setting, ray.get(pool_ref), sample, context),
        name=f"prepare-{shared.identity}",
        label="base model",
    )
    return prepared


def _prepared(setting: Setting, pool: Pool, sample: FitSample | None, context: WorkerContext) -> Prepared:
    from trainers.job import prepare  # in the worker: it brings torch

    return prepare(setting, pool, sample=sample, context=context)


def _crew(shared: Shared) -> Crew:
    """The workers of this process, which Tune keeps from one trial to the next: they stay as well."""
    global _kept_crew
    if _kept_crew is None:
        from trainers.ray_job import Crew

        _kept_crew = Crew(
            shared.config.resources,
            storage=shared.checkpoints,
            board=shared.board,
            keep_checkpoints=shared.config.checkpoints.keep,
            logs=shared.logs,
        )
    return _kept_crew


def _mean_by_domain(seeds: Sequence[SeedResult]) -> dict[str, float]:
    return {
        domain: fmean(result.domain_rewards[domain] for result in seeds) for domain in seeds[0].domain_rewards
    }
