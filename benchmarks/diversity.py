"""Claims of speed, memory and accuracy for prompt diversity: `python -m benchmarks.diversity [--quick]`.

The method is in benchmarks/diversity.md. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from metrics.diversity import diversity, nested_diversity
from metrics.hyperloglog import DistinctSketch
from metrics.ngrams import pack_ngrams
from metrics.ray_count import count_on_ray
from metrics.tokens import TokenTable, tokenize
from pools.selection import select_order
from trainers.models import load_tokenizer, resolve_model

T = TypeVar("T")
SHARD = 4000  # prompts made from one seed
MEAN_LOG_LENGTH, SPREAD = 4.69, 0.8  # lengths are log-normal, cut to 512: about 143 words in the mean


@dataclass(frozen=True)
class Sizes:
    """Numbers of prompts."""

    small: int
    large: int


@cache
def tokenizer() -> Any:
    """The tokenizer of the embedded model, whose thread pool is warm."""
    made = load_tokenizer(resolve_model("embedded:smollm2-135m"))
    tokenize(["warm up"] * 1000, made)
    return made


@cache
def words() -> np.ndarray[Any, Any]:
    """Words that are one token each, frequent ones first."""
    vocabulary = sorted((index, token) for token, index in tokenizer().get_vocab().items())
    return np.array(
        [f" {t[1:]}" for _, t in vocabulary if t[0] == "Ġ" and t[1:].isalpha() and t[1:].isascii()][:20_000]
    )


def zipf(rng: np.random.Generator, exponent: float, offset: float, size: int) -> np.ndarray[Any, Any]:
    """Ranks of words by a law of Zipf and Mandelbrot."""
    weights = np.cumsum(1 / (np.arange(len(words())) + offset) ** exponent)
    ranks = np.searchsorted(weights / weights[-1], rng.random(size, np.float32))
    return np.minimum(ranks, len(words()) - 1)


def shard(seed: int) -> list[str]:
    """Prompts whose bigrams repeat as in real dialogues: 26% distinct of 0.28M, 12% of 5M."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(MEAN_LOG_LENGTH, SPREAD, SHARD).astype(int), 5, 512)
    chosen = zipf(rng, 1.3, 2.0, int(lengths.sum()))
    follower = zipf(rng, 1.6, 1.0, len(chosen))[1::2]
    shift = chosen[:-1:2][: len(follower)] * 7919 % 997
    chosen[1::2] = (follower * (1 + shift % 13) + shift * (follower > 0)) % len(words())
    spoken = words()[chosen].tolist()
    ends = np.cumsum(lengths).tolist()
    return ["".join(spoken[end - size : end]) for end, size in zip(ends, lengths.tolist(), strict=True)]


def read(source: str) -> Iterator[str]:
    """The prompts of the shard of that seed."""
    return iter(shard(int(source)))


def shards(prompts: int) -> Iterator[list[str]]:
    """Texts of so many prompts (a multiple of a shard)."""
    return (shard(seed) for seed in range(prompts // SHARD))


def timed(work: Callable[[], T], repeats: int = 1) -> tuple[float, T]:
    """Least CPU seconds of some runs, all threads together, and the result.

    With one thread that is wall time less what other programs took.
    """
    seconds = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        result = work()
        seconds = min(seconds, time.process_time() - start)
    return seconds, result


def rows_of(tokens: TokenTable) -> list[list[int]]:
    """Each prompt's token ids as a list, in which the plain counters read them."""
    bounds = tokens.offsets.tolist()
    return [tokens.ids[a:b].tolist() for a, b in zip(bounds, bounds[1:], strict=False)]


def in_dictionary(rows: list[list[int]]) -> int:
    """Distinct bigrams: each prompt's as tuples into a dictionary of counts."""
    counts: dict[tuple[int, ...], int] = {}
    for row in rows:
        for gram in [tuple(row[i : i + 2]) for i in range(len(row) - 1)]:
            counts[gram] = counts.get(gram, 0) + 1
    return len(counts)


def in_counter(rows: list[list[int]]) -> int:
    """The same by `collections.Counter` over neighbours."""
    return len(Counter(chain.from_iterable(zip(row, row[1:], strict=False) for row in rows)))


def by_unique(tokens: TokenTable) -> int:
    """The same by `numpy.unique` on packed bigrams."""
    return len(np.unique(pack_ngrams(tokens, 2).codes))


def by_polars(tokens: TokenTable) -> int:
    """The same by polars' count of distinct values, on packed bigrams."""
    import polars  # type: ignore[import-not-found]

    return int(polars.Series(pack_ngrams(tokens, 2).codes).n_unique())


def peers_over_count(tokens: TokenTable, rounds: int = 5, counts: int = 10) -> tuple[dict[str, float], int]:
    """Least seconds of each peer over the least of our count, taken in turn; the distinct bigrams.

    A round counts often, as the dictionary's one run is as long as many counts, and so all meet the same
    disturbances by other programs. polars is among them where it is installed.
    """
    rows = rows_of(tokens)
    peers: dict[str, Callable[[], int]] = {
        "dictionary": partial(in_dictionary, rows),
        "counter": partial(in_counter, rows),
        "numpy_unique": partial(by_unique, tokens),
    }
    if find_spec("polars"):
        peers["polars"] = partial(by_polars, tokens)
    seconds: dict[str, list[float]] = {name: [] for name in (*peers, "ours")}
    found: set[int] = set()
    for _ in range(rounds):
        for name, count in peers.items():
            taken, distinct = timed(count)
            seconds[name].append(taken)
            found.add(distinct)
        seconds["ours"].append(timed(lambda: diversity(tokens), counts)[0])
    (distinct,) = found  # all agree
    return {f"{name}_over_count": min(seconds[name]) / min(seconds["ours"]) for name in peers}, distinct


def encode_only(texts: list[str]) -> list[list[int]]:
    """The baseline of the whole metric: the library's ids, and nothing done with them."""
    fast = tokenizer().backend_tokenizer
    return [row.ids for row in fast.encode_batch_fast(texts, add_special_tokens=False)]


def counting(tokens: TokenTable, repeats: int) -> dict[str, float]:
    """Count, nested form, and the memory that both take beyond the tokens."""
    count, single = timed(lambda: diversity(tokens), repeats)
    nested, curve = timed(lambda: nested_diversity(tokens), repeats)
    assert curve[-1] == single
    return {
        "prompts": len(tokens),
        "tokens": len(tokens.ids),
        "diversity": single,
        "count_cpu_s": count,
        "nested_over_count": nested / count,
        "count_extra_gb": peak_gb(lambda: diversity(tokens)),
        "nested_extra_gb": peak_gb(lambda: nested_diversity(tokens)),
    }


def peak_gb(work: Callable[[], object]) -> float:
    """Most memory that the work held beyond what there was, in GB (numpy's arrays are counted)."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e9


def whole_metric(prompts: int) -> tuple[dict[str, float], TokenTable]:
    """Texts to D, against the library's tokenizing alone, batch by batch in turn; making texts is not in."""
    alone = ours = wall = 0.0
    tables = []
    for texts in shards(prompts):
        alone += timed(partial(encode_only, texts))[0]
        start = time.perf_counter()
        seconds, table = timed(partial(tokenize, texts, tokenizer()))
        wall += time.perf_counter() - start
        ours += seconds
        tables.append(table)
    joining, tokens = timed(lambda: TokenTable.concatenate(tables))
    whole = ours + joining + timed(lambda: diversity(tokens))[0]
    figures = {
        "whole_over_tokenizing": whole / alone,
        "whole_cpu_us_a_prompt": whole / prompts * 1e6,
        "cores_busy_tokenizing": ours / wall,
    }
    return figures, tokens


def selection(tokens: TokenTable) -> dict[str, float]:
    """A quarter of the prompts, chosen greedily, from token ids on."""

    def choose() -> Any:
        packed = pack_ngrams(tokens, 2)
        return select_order(packed, tokens.lengths, kind="diverse", prompts=len(tokens) // 4)[0]

    seconds, order = timed(choose, 3)
    chosen, drawn = tokens.take(order), tokens.slice(0, len(tokens) // 4)
    return {
        "select_quarter_cpu_s": seconds,
        "selected_diversity_over_drawn": diversity(chosen) / diversity(drawn),
        "selected_length_over_pool": float(chosen.lengths.mean() / tokens.lengths.mean()),
    }


def sketch_error(tokens: TokenTable, distinct: float) -> float:
    """Relative error of the approximate count."""
    sketch = DistinctSketch()
    for start in range(0, len(tokens), SHARD):
        sketch.add(pack_ngrams(tokens.slice(start, start + SHARD), 2, len(tokenizer())).codes)
    return abs(sketch.estimate() / distinct - 1)


def on_ray(prompts: int, exact: float) -> dict[str, float | bool]:
    """The same prompts, made and counted by two workers."""
    import ray

    from benchmarks import diversity as importable  # workers find functions by their module, not as __main__

    ray.init(num_cpus=max(os.cpu_count() or 2, 2), include_dashboard=False, log_to_driver=False)
    sources = [str(seed) for seed in range(prompts // SHARD)]
    start = time.perf_counter()
    measured = count_on_ray(sources, importable.read, importable.tokenizer)
    seconds = time.perf_counter() - start
    ray.shutdown()
    return {"ray_same_number": measured.diversity() == exact, "ray_wall_s": seconds}


def measure(sizes: Sizes) -> dict[str, Any]:
    """All figures."""
    small_whole, small = whole_metric(sizes.small)
    at_small = counting(small, 5) | small_whole | selection(small)
    ratios, distinct = peers_over_count(small)
    at_small |= ratios
    at_small |= {"sketch_error": sketch_error(small, distinct)}
    del small
    large_whole, large = whole_metric(sizes.large)
    at_large = counting(large, 1) | large_whole
    total = len(pack_ngrams(large, 2).codes)
    at_large |= {"sketch_error": sketch_error(large, at_large["diversity"] / sizes.large**0.5 * total)}
    del large
    at_large |= on_ray(sizes.large, at_large["diversity"])
    per_prompt = large_whole["whole_cpu_us_a_prompt"] / small_whole["whole_cpu_us_a_prompt"]
    return {"small": at_small, "large": at_large, "large_over_small_a_prompt": per_prompt}


def main() -> None:
    """Run, print a line for each figure, then all as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="4,000 and 40,000 prompts, not 36,000 and 1 million"
    )
    quick = parser.parse_args().quick
    figures = measure(Sizes(4000, 40_000) if quick else Sizes(36_000, 1_000_000))
    for size in ("small", "large"):
        for name, value in figures[size].items():
            print(f"{size} {name}: {value:,.4g}")
    print(json.dumps({"benchmark": "diversity", "quick": quick, **figures}))


if __name__ == "__main__":
    main()
