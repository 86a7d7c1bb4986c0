"""Prompt diversity D: distinct n-grams over all n-grams, times a power of the number of prompts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metrics.ngrams import count_distinct, first_seen, pack_ngrams
from metrics.tokens import TokenTable

ORDER = 2  # bigrams, and
EXPONENT = 0.5  # the square root of the number of prompts: Song et al. 2024


def diversity(tokens: TokenTable, *, order: int = ORDER, exponent: float = EXPONENT) -> float:
    """D = N ** exponent x distinct n-grams / all n-grams, over the N prompts of `tokens`.

    Source: Song et al. 2024 (arXiv 2403.11124), with order 2 and exponent 1/2. N-grams never cross from
    one prompt to the next. Every prompt counts in N, also one shorter than `order`.
    Range: 0 to N ** exponent; 0 exactly when the prompts hold no n-gram at all.

    It misleads where prompt lengths differ: shorter prompts repeat fewer n-grams, so that the shortest
    prompts of a pool score highest whatever they say. Compare sets of equal mean length only. It also
    falls as N grows once distinct n-grams grow slower than N ** (1 - exponent) (see `metrics.heaps`).
    """
    packed = pack_ngrams(tokens, order).codes
    return _score(len(tokens), count_distinct(packed), len(packed), exponent)


def nested_diversity(
    tokens: TokenTable, *, order: int = ORDER, exponent: float = EXPONENT
) -> NDArray[np.float64]:
    """D of the first 1, 2, ..., N prompts, shape [N], in one pass; the last is `diversity(tokens)`.

    Formula, range and limits as for `diversity`.
    """
    packed = pack_ngrams(tokens, order)
    distinct, total = np.cumsum(first_seen(packed)), packed.offsets[1:]
    prompts = np.arange(1, len(tokens) + 1, dtype=np.float64)
    return prompts**exponent * (distinct / np.maximum(total, 1))


def _score(prompts: int, distinct: int, total: int, exponent: float) -> float:
    return float(prompts) ** exponent * (distinct / total) if total else 0.0
