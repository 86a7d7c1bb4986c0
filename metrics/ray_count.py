"""Exact diversity on a cluster: workers pack n-grams, and Ray Data's own aggregation counts them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.diversity import ORDER
from metrics.ngrams import pack_ngrams
from metrics.scale import Measured
from metrics.tokens import MAX_TOKENS, tokenize, vocabulary_size

Batch = dict[str, NDArray[Any]]
_READER_CPUS, _WORKER_CPUS = 0.25, 0.5  # all stages run at once: with whole cores they wait for each other
_BATCH = 8192  # prompts whose repeated n-grams are dropped before anything is sent
_SUMS = ("prompts", "tokens", "total")


def count_on_ray(
    sources: Sequence[str],
    read: Callable[[str], Iterator[str]],
    load_tokenizer: Callable[[], Any],
    *,
    order: int = ORDER,
    max_tokens: int = MAX_TOKENS,
    workers: int = 2,
) -> Measured:
    """Counts as `metrics.scale.StreamCounter` does exactly, without its curve, over Ray's nodes.

    `read` gives the prompts of one source; it and `load_tokenizer` run on the workers, which must reach the
    files. Ray spills to disk what its memory does not hold. Ray must be initialised.
    """
    import ray.data
    from ray.data.aggregate import Max, Sum

    texts = ray.data.from_items([{"source": source} for source in sources]).flat_map(
        lambda row: ({"text": text} for text in read(row["source"])), num_cpus=_READER_CPUS
    )
    packed = texts.map_batches(
        _Packer,
        fn_constructor_kwargs={"load_tokenizer": load_tokenizer, "order": order, "max_tokens": max_tokens},
        batch_size=_BATCH,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=_WORKER_CPUS,
    )
    codes = packed.groupby("code", num_partitions=8 * workers).aggregate(
        Max("distinct", alias_name="distinct"), *(Sum(name, alias_name=name) for name in _SUMS)
    )
    found = codes.aggregate(*(Sum(name, alias_name=name) for name in ("distinct", *_SUMS)))
    prompts, tokens, total, distinct = (int(found[name] or 0) for name in (*_SUMS, "distinct"))
    return Measured(prompts=prompts, tokens=tokens, total=total, distinct=distinct)


class _Packer:
    """Texts to the distinct n-grams of the batch; a row before them, which is no n-gram, holds its sums."""

    def __init__(self, load_tokenizer: Callable[[], Any], order: int, max_tokens: int) -> None:
        self._tokenizer = load_tokenizer()
        self._vocabulary = vocabulary_size(self._tokenizer)
        self._order, self._max_tokens = order, max_tokens

    def __call__(self, batch: Batch) -> Batch:
        tokens = tokenize(batch["text"].tolist(), self._tokenizer, self._max_tokens)
        packed = pack_ngrams(tokens, self._order, self._vocabulary).codes
        codes = np.insert(np.unique(packed).astype(np.uint64), 0, 0)
        first = np.arange(len(codes)) == 0
        sums = dict(zip(_SUMS, (len(tokens), len(tokens.ids), len(packed)), strict=True))
        return {
            "code": codes.view(np.int64),
            "distinct": 1 - first,
            **{name: first * value for name, value in sums.items()},
        }
