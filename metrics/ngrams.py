"""N-grams packed into integers, within prompts only, so that counting distinct ones is a sort."""

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


def pack_ngrams(tokens: TokenTable, order: int) -> NgramTable:
    """Every run of `order` tokens within one prompt. Codes compare only within one table."""
    assert order >= 1, order
    counts = np.maximum(tokens.lengths - (order - 1), 0)
    return NgramTable(_windows(tokens.ids, order)[_inside(tokens, order)], offsets_of(counts))


def count_distinct(codes: Codes) -> int:
    """Number of different values."""
    return int(np.count_nonzero(_starts(np.sort(codes))))


def first_seen(table: NgramTable) -> NDArray[np.int64]:
    """For each prompt, how many of its distinct n-grams no earlier prompt holds; shape [n]."""
    prompts = len(table.offsets) - 1
    codes, owners = _by_code(table.codes, np.repeat(np.arange(prompts), np.diff(table.offsets)))
    return np.bincount(owners[_starts(codes)], minlength=prompts)


def _windows(ids: NDArray[np.int32], order: int) -> Codes:
    """Codes of all runs of `order` ids, those that cross from one prompt to the next included."""
    size = max(len(ids) - order + 1, 0)
    bits = _bits(ids)
    codes: Codes = ids[:size].astype(np.uint32 if order * bits <= 32 else np.uint64)
    for step in range(1, order):
        if _bits(codes) + bits > 64:  # four ids of a vocabulary over 65,536: rank what is there first
            codes = np.unique(codes, return_inverse=True)[1].astype(np.uint64)
        codes <<= codes.dtype.type(bits)
        codes |= ids[step : step + size].astype(codes.dtype)
    return codes


def _inside(tokens: TokenTable, order: int) -> NDArray[np.bool_]:
    """Which of all windows lie within one prompt."""
    keep = np.ones(len(tokens.ids), dtype=np.bool_)
    for back in range(1, order):
        keep[tokens.offsets[1:][tokens.lengths >= back] - back] = False
    return keep[: max(len(tokens.ids) - order + 1, 0)]


def _by_code(codes: Codes, owners: NDArray[np.int64]) -> tuple[Codes, NDArray[np.int64]]:
    """Both arrays ordered by code, then owner: one sort of a joint integer where both fit in 64 bits."""
    low = _bits(owners)
    if _bits(codes) + low > 64:
        order = np.argsort(codes, kind="stable")
        return codes[order], owners[order]
    joint = codes.astype(np.uint64) << np.uint64(low)
    joint |= owners.view(np.uint64)
    joint.sort()
    return joint >> np.uint64(low), (joint & np.uint64((1 << low) - 1)).view(np.int64)


def _starts(ordered: Codes) -> NDArray[np.bool_]:
    """Where a run of equal values begins in a sorted array."""
    starts = np.ones(len(ordered), dtype=np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=starts[1:])
    return starts


def _bits(values: NDArray[Any]) -> int:
    """Bits that hold the largest of `values`, at least one."""
    return max(int(values.max()).bit_length(), 1) if len(values) else 1
