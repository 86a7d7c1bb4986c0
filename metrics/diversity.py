"""Prompt diversity D: distinct n-grams over all n-grams, times a power of the number of prompts."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metrics.firsts import Firsts
from metrics.ngrams import pack_ngrams, packs_exactly
from metrics.tokens import TokenTable

ORDER = 2  # bigrams, and
EXPONENT = 0.5  # the square root of the number of prompts: Song et al. 2024
_PIECE = 2048  # prompts packed at once


def diversity(tokens: TokenTable, *, order: int = ORDER, exponent: float = EXPONENT) -> float:
    """D = N ** exponent x distinct n-grams / all n-grams, over the N prompts of `tokens`.

    Source: Song et al. 2024 (arXiv 2403.11124), with order 2 and exponent 1/2. N-grams never cross from
    one prompt to the next. Every prompt counts in N, also one shorter than `order`.
    Range: 0 to N ** exponent; 0 exactly when the prompts hold no n-gram at all.

    It misleads where prompt lengths differ: shorter prompts repeat fewer n-grams, so that the shortest
    prompts of a pool score highest whatever their content. Compare sets of equal mean length only. It also
    falls as N grows once distinct n-grams grow slower than N ** (1 - exponent) (see `metrics.heaps`).
    """
    firsts = _count(tokens, order)
    return score(len(tokens), firsts.distinct(), firsts.total, exponent)


def nested_diversity(
    tokens: TokenTable, *, order: int = ORDER, exponent: float = EXPONENT
) -> NDArray[np.float64]:
    """D of the first 1, 2, ..., N prompts, shape [N], in one pass; the last is `diversity(tokens)`.

    Formula, range and limits as for `diversity`.
    """
    firsts = _count(tokens, order)
    distinct, total = np.cumsum(firsts.per_prompt()), np.cumsum(firsts.totals())
    prompts = np.arange(1, len(tokens) + 1, dtype=np.float64)
    shares: NDArray[np.float64] = distinct / np.maximum(total, 1)
    return prompts**exponent * shares


def score(prompts: int, distinct: float, total: int, exponent: float = EXPONENT) -> float:
    """D of so many prompts with so many distinct and all n-grams; 0 for no n-gram."""
    return float(prompts) ** exponent * (distinct / total) if total else 0.0


def _count(tokens: TokenTable, order: int) -> Firsts:
    """Packs and counts a piece at a time, so that memory beyond the tokens stays small."""
    firsts = Firsts()
    vocabulary = int(tokens.ids.max()) + 1 if len(tokens.ids) else 1
    if not packs_exactly(order, vocabulary):  # then only codes of one packing compare exactly
        firsts.add(pack_ngrams(tokens, order))
        return firsts
    for start in range(0, len(tokens), _PIECE):
        piece = tokens.slice(start, min(start + _PIECE, len(tokens)))
        firsts.add(pack_ngrams(piece, order, vocabulary))
    return firsts
