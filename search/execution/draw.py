"""Which prompts a trial labels, and how diverse they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from metrics.baselines import text_baselines
from metrics.diversity import diversity
from metrics.embedding import embedding_baselines
from metrics.tokens import TokenTable
from pools.subset import ranking
from pools.types import Pool
from search.trials.design_point import Trial


def choose_orders(pool: Pool, tokens: TokenTable, trial: Trial) -> dict[int, list[int]]:
    """For each seed of `trial`, which prompts it labels: indices into `pool.train`, in labelling order."""
    point = trial.point
    shuffled = {seed: ranking(pool.train.keys(), seed) for seed in trial.seeds}
    if point.selection == "random":
        return {seed: order[: point.prompts].tolist() for seed, order in shuffled.items()}
    from metrics.ngrams import pack_ngrams
    from pools.selection import select_order

    grams, orders = pack_ngrams(tokens, 2), {}
    for seed in trial.seeds:
        chosen, _ = select_order(
            grams,
            tokens.lengths,
            kind=point.selection,
            strength=point.strength,
            seed=seed,
            prompts=point.prompts,
            shuffled=shuffled[seed],
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
    moved_to = {index: row for row, index in enumerate(rows)}
    moved = {seed: [moved_to[index] for index in order] for seed, order in orders.items()}
    return replace(pool, train=pool.train.take(rows)), tokens.take(rows), moved


def measure(
    pool: Pool,
    tokens: TokenTable,
    orders: Mapping[int, Sequence[int]],
    vectors: NDArray[np.float32] | None = None,
) -> tuple[float, dict[str, float]]:
    """Diversity of the selected prompts and its baseline metrics by name, averaged over the seeds' draws.

    `vectors` [train prompts, width] add the baselines that look at sentence embeddings.
    """
    scores, baselines = [], []
    for order in orders.values():
        subset = tokens.take(order)
        scores.append(diversity(subset))
        found = text_baselines(subset, [pool.train[i].prompt.text for i in order])
        baselines.append(found | ({} if vectors is None else embedding_baselines(vectors[list(order)])))
    return fmean(scores), mean_baselines(baselines)


def mean_baselines(draws: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Baseline metrics by name, each averaged over the draws."""
    values = defaultdict(list)
    for draw in draws:
        for name, value in draw.items():
            values[name].append(value)
    return {name: fmean(each) for name, each in values.items()}
