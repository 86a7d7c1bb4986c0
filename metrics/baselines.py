"""Baseline metrics that D is compared with: cheap statistics of a set of prompts, reported for each trial."""

from __future__ import annotations

from collections.abc import Iterable
from math import log

import numpy as np
from numpy.typing import NDArray

from metrics.diversity import diversity, nested_diversity
from metrics.tokens import TokenTable


def distinct_n(tokens: TokenTable, order: int) -> float:
    """Distinct n-grams / all n-grams of the prompts (Li et al. 2016), in [0, 1]; 0 where there is no n-gram.

    It falls with the amount of text, whatever the text: compare sets of equal size only.
    """
    return diversity(tokens, order=order, exponent=0.0)


def nested_distinct_n(tokens: TokenTable, order: int) -> NDArray[np.float64]:
    """`distinct_n` of the first 1, 2, ..., N prompts, shape [N], in one pass."""
    return nested_diversity(tokens, order=order, exponent=0.0)


def token_entropy(tokens: TokenTable) -> float:
    """Shannon entropy of the token frequencies in bits, from 0 to log2 of the vocabulary; 0 for no token.

    It counts single tokens, so that a shuffled sentence scores as the sentence does.
    """
    _, counts = np.unique(tokens.ids, return_counts=True)
    shares = counts / max(len(tokens.ids), 1)
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def nested_token_entropy(tokens: TokenTable) -> NDArray[np.float64]:
    """`token_entropy` of the first 1, 2, ..., N prompts in bits, shape [N], in one pass."""
    order = np.argsort(tokens.ids, kind="stable")
    starts = np.flatnonzero(np.diff(tokens.ids[order], prepend=-1))
    sizes = np.diff(np.append(starts, len(order)))
    earlier = np.empty(len(order), np.float64)  # how often each token occurred before
    earlier[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    grown = _c_log_c(earlier + 1) - _c_log_c(earlier)
    sums = np.concatenate([[0.0], np.cumsum(grown)])[tokens.offsets[1:]]
    total = np.maximum(tokens.offsets[1:], 1)
    entropy: NDArray[np.float64] = np.maximum(np.log2(total) - sums / total, 0.0)
    return entropy


def _c_log_c(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    return counts * np.log2(np.maximum(counts, 1))


def compression_ratio(texts: Iterable[str]) -> float:
    """Bytes of the texts / bytes after zstd (level 3, long window): 1 and above, higher is less diverse.

    After the compression ratios of Shaib et al. 2024 (arXiv 2403.00553), with zstd for gzip, whose window
    of 32 kB is blind to repetition further apart. Header bytes pull the ratio of tiny sets under 1; a set
    without a byte gives 1. Like distinct-n it depends on the amount of text.
    """
    import zstandard

    options = zstandard.ZstdCompressionParameters.from_level(3, window_log=27, enable_ldm=True)
    squeeze = zstandard.ZstdCompressor(compression_params=options).compressobj()
    plain = packed = 0
    for text in texts:
        line = (text + "\n").encode(errors="surrogatepass")
        plain += len(line)
        packed += len(squeeze.compress(line))
    return plain / (packed + len(squeeze.flush())) if plain else 1.0


def text_baselines(tokens: TokenTable, texts: Iterable[str]) -> dict[str, float]:
    """Every baseline metric that needs no model, by name; `texts` are the prompts that `tokens` holds, uncut.

    `distinct_1` to `distinct_4`, `entropy` (bits a token), `compression_ratio`, `prompts`, `log_prompts`
    (natural; 0 for no prompt) and `mean_prompt_tokens` (after the cut to 512).
    """
    prompts = len(tokens)
    return {
        **{f"distinct_{order}": distinct_n(tokens, order) for order in (1, 2, 3, 4)},
        "entropy": token_entropy(tokens),
        "compression_ratio": compression_ratio(texts),
        "prompts": float(prompts),
        "log_prompts": log(prompts) if prompts else 0.0,
        "mean_prompt_tokens": len(tokens.ids) / prompts if prompts else 0.0,
    }
