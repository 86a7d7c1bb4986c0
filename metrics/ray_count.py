"""Exact diversity on a cluster: Ray Data splits the n-grams by hash, and each part is counted by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.diversity import ORDER
from metrics.ngrams import fingerprints, pack_ngrams
from metrics.scale import Measured
from metrics.tokens import MAX_TOKENS, tokenize, vocabulary_size

Batch = dict[str, NDArray[Any]]
_READER_CPUS, _WORKER_CPUS = 0.25, 0.5  # all stages run at once: with whole cores they wait for each other
_BATCH = 8192  # prompts whose repeated n-grams are dropped before anything is sent


def count_on_ray(
    sources: Sequence[str],
    read: Callable[[str], Iterator[str]],
    load_tokenizer: Callable[[], Any],
    *,
    order: int = ORDER,
    max_tokens: int = MAX_TOKENS,
    parts: int = 64,
    workers: int = 2,
) -> Measured:
    """Counts as `metrics.scale.StreamCounter` does exactly, without its curve, over Ray's nodes.

    `read` gives the prompts of one source; it and `load_tokenizer` run on the workers, which must reach the
    files. A worker holds an 8 x `workers`-th of the distinct n-grams at a time (8 bytes each, and as much
    again for repeats between batches); the rest spills to disk as Ray sees fit. Ray must be initialised.
    """
    import ray.data

    texts = ray.data.from_items([{"source": source} for source in sources]).flat_map(
        lambda row: ({"text": text} for text in read(row["source"])), num_cpus=_READER_CPUS
    )
    scattered = texts.map_batches(
        _Scatter,
        fn_constructor_kwargs={
            "load_tokenizer": load_tokenizer,
            "order": order,
            "max_tokens": max_tokens,
            "parts": parts,
        },
        batch_size=_BATCH,
        concurrency=workers,
        num_cpus=_WORKER_CPUS,
    )
    groups = scattered.groupby("part", num_partitions=min(parts, 8 * workers))
    gathered = groups.map_groups(_gather, batch_format="numpy").to_pandas()
    sums = gathered.sum()
    return Measured(
        prompts=int(sums.get("prompts", 0)),
        tokens=int(sums.get("tokens", 0)),
        total=int(sums.get("total", 0)),
        distinct=int(sums.get("distinct", 0)),
    )


class _Scatter:
    """Texts to distinct n-grams of the batch, one row for each part of the hash space."""

    def __init__(self, load_tokenizer: Callable[[], Any], order: int, max_tokens: int, parts: int) -> None:
        self._tokenizer = load_tokenizer()
        self._vocabulary = vocabulary_size(self._tokenizer)
        self._order, self._max_tokens, self._parts = order, max_tokens, parts

    def __call__(self, batch: Batch) -> Batch:
        tokens = tokenize(batch["text"].tolist(), self._tokenizer, self._max_tokens)
        packed = pack_ngrams(tokens, self._order, self._vocabulary).codes
        codes = np.unique(packed).astype(np.uint64)
        part = fingerprints(codes) % np.uint64(self._parts)
        order = np.argsort(part, kind="stable")
        cuts = np.searchsorted(part[order], np.arange(1, self._parts, dtype=np.uint64))
        first = np.arange(self._parts) == 0  # the batch's sums go with its first row
        return {
            "part": np.arange(self._parts),
            "codes": np.array([piece.tobytes() for piece in np.split(codes[order], cuts)], dtype=object),
            "prompts": first * len(tokens),
            "tokens": first * len(tokens.ids),
            "total": first * len(packed),
        }


def _gather(group: Batch) -> Batch:
    """One part's distinct n-grams, and the sums of the rows in it."""
    codes = np.frombuffer(b"".join(group["codes"].tolist()), np.uint64)
    sums = {name: np.array([group[name].sum()]) for name in ("prompts", "tokens", "total")}
    return {"distinct": np.array([len(np.unique(codes))]), **sums}
