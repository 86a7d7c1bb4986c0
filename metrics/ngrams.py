"""N-grams packed into integers, within prompts only, so that counting them is a matter of sorting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metrics.tokens import TokenTable, offsets_of

Codes = NDArray[Any]  # uint32 where the n-gram fits, else uint64


@dataclass(frozen=True)
class NgramTable:
    """The n-grams of n prompts, in prompt order, each an integer; equal integers are equal n-grams.

    `codes` is uint32 or uint64 of shape [n-grams]; prompt i owns `codes[offsets[i]:offsets[i + 1]]`,
    which is empty for a prompt shorter than the order.
    """

    codes: Codes
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of prompts."""
        return len(self.offsets) - 1

    def slice(self, start: int, stop: int) -> NgramTable:
        """The table of prompts `start` to `stop` (exclusive), sharing this table's memory."""
        low, high = self.offsets[start], self.offsets[stop]
        return NgramTable(self.codes[low:high], self.offsets[start : stop + 1] - low)


def pack_ngrams(tokens: TokenTable, order: int, vocabulary: int | None = None) -> NgramTable:
    """Every run of `order` tokens within one prompt.

    Without `vocabulary`, codes compare only within this table. With it (all ids are under it), they compare
    between all tables packed so: exactly where `packs_exactly(order, vocabulary)`. Past that a code is a
    64-bit fingerprint: among m distinct n-grams the chance that any two share one is under m * m / 2 ** 65
    (3e-6 for ten million).
    """
    assert order >= 1, order
    bits = bits_of(tokens.ids) if vocabulary is None else _bits(vocabulary - 1)
    codes = _windows(tokens.ids, order, bits, across=vocabulary is not None)
    counts = np.maximum(tokens.lengths - (order - 1), 0)
    return NgramTable(codes[_inside(tokens, order)] if order > 1 else codes, offsets_of(counts))


def packs_exactly(order: int, vocabulary: int) -> bool:
    """Whether `order` ids under `vocabulary` fit in 64 bits: always up to three; four up to 65,536."""
    return order * _bits(vocabulary - 1) <= 64


def fingerprints(codes: Codes) -> NDArray[np.uint64]:
    """A well-mixed 64-bit image of each code, one to one (finaliser of splitmix64, Steele et al. 2014)."""
    mixed = codes.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def bits_of(values: NDArray[Any]) -> int:
    """Bits that hold the largest of `values`, at least one."""
    return _bits(int(values.max())) if len(values) else 1


def _bits(largest: int) -> int:
    return max(largest.bit_length(), 1)


def _windows(ids: NDArray[np.int32], order: int, bits: int, *, across: bool) -> Codes:
    """Codes of all runs of `order` ids, those that cross from one prompt to the next included."""
    size = max(len(ids) - order + 1, 0)
    unsigned = ids.view(np.uint32)
    codes: Codes = unsigned[:size].astype(np.uint32 if order * bits <= 32 else np.uint64)
    width = bits
    for step in range(1, order):
        following = unsigned[step : step + size]
        if width + bits > 64 and not across:  # rank what is there: exact, and narrow again
            codes = np.unique(codes, return_inverse=True)[1].astype(np.uint64)
            width = bits_of(codes)
        if width + bits > 64:
            codes = fingerprints(codes) + following
        else:
            codes <<= codes.dtype.type(bits)
            codes |= following
            width += bits
    return codes


def _inside(tokens: TokenTable, order: int) -> NDArray[np.bool_]:
    """Which of all windows lie within one prompt."""
    keep = np.ones(len(tokens.ids), dtype=np.bool_)
    for back in range(1, order):
        keep[tokens.offsets[1:][tokens.lengths >= back] - back] = False
    return keep[: max(len(tokens.ids) - order + 1, 0)]
