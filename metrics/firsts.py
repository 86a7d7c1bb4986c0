"""Where in a stream of prompts each distinct n-gram is first seen: the work behind D and its nested form."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from metrics.ngrams import Codes, NgramTable, bits_of

_BLOCK = 1 << 18  # n-grams sorted at once: they stay in the processor's cache
_SLOTS = 22  # log2 of the n-grams remembered as seen
_SLACK = 1 << 22  # n-grams gathered before duplicates among them are dropped


class Firsts:
    """Counts the distinct n-grams of all tables added, exactly, and knows which prompt brought each.

    Text repeats itself: a table with one slot for each hash of an n-gram remembers those seen of late, and
    only what it does not know is sorted and kept. What it has forgotten comes in again, and the last sort
    drops it, so the cache changes the speed and never the count. Memory follows the number of distinct
    n-grams (`held`), 16 bytes each and as much again while they are merged, not the amount of text.
    All tables must be packed to compare (one table, or one `vocabulary`).
    """

    def __init__(self) -> None:
        self.prompts = 0
        self.total = 0
        self._cache: Codes | None = None
        self._codes: list[Codes] = []
        self._owners: list[NDArray[np.int64]] = []
        self._pending = self._merged = 0

    @property
    def held(self) -> int:
        """N-grams in memory now; each distinct one at least once."""
        return self._merged + self._pending

    def add(self, table: NgramTable) -> None:
        """Go on with these prompts, which follow all that were added before."""
        for block in _blocks(table):
            self._add(block)
            if self._pending > self._merged + _SLACK:
                self._merge()

    def codes(self) -> Codes:
        """The distinct n-grams, ascending."""
        return self._merge()[0]

    def distinct(self) -> int:
        """Number of distinct n-grams."""
        return len(self.codes())

    def per_prompt(self) -> NDArray[np.int64]:
        """For each prompt, how many of its distinct n-grams no earlier prompt holds; shape [prompts]."""
        return np.bincount(self._merge()[1], minlength=self.prompts)

    def _add(self, block: NgramTable) -> None:
        unknown = np.flatnonzero(self._unknown(block.codes))
        owners = np.searchsorted(block.offsets, unknown, side="right") - 1
        codes, owners = _firsts(block.codes[unknown], owners)
        self._remember(codes)
        self._codes.append(codes)
        self._owners.append(owners + self.prompts)
        self._pending += len(codes)
        self.prompts += len(block)
        self.total += len(block.codes)

    def _merge(self) -> tuple[Codes, NDArray[np.int64]]:
        if self._pending:
            self._codes, self._owners = (
                [merged] for merged in _firsts(np.concatenate(self._codes), np.concatenate(self._owners))
            )
            self._merged, self._pending = len(self._codes[0]), 0
        if not self._codes:
            return np.empty(0, np.uint32), np.empty(0, np.int64)
        return self._codes[0], self._owners[0]

    def _unknown(self, codes: Codes) -> NDArray[np.bool_]:
        if not self._codes:  # most pools fit one block and need no cache
            return np.ones(len(codes), dtype=np.bool_)
        if self._cache is None:
            self._cache = np.zeros(1 << _SLOTS, dtype=codes.dtype)
            self._cache[0] = 1  # an empty slot must not look like the n-gram 0; 1 belongs in another
        return np.not_equal(self._cache[_slots(codes)], codes)

    def _remember(self, codes: Codes) -> None:
        if self._cache is not None:
            self._cache[_slots(codes)] = codes


def first_seen(table: NgramTable) -> NDArray[np.int64]:
    """For each prompt, how many of its distinct n-grams no earlier prompt holds; shape [n]."""
    firsts = Firsts()
    firsts.add(table)
    return firsts.per_prompt()


def _blocks(table: NgramTable) -> Iterator[NgramTable]:
    """The table in pieces of whole prompts, about `_BLOCK` n-grams each."""
    start = 0
    while start < len(table):
        reach = np.searchsorted(table.offsets, table.offsets[start] + _BLOCK, side="right")
        stop = max(int(reach) - 1, start + 1)
        yield table.slice(start, stop)
        start = stop


def _slots(codes: Codes) -> Codes:
    """Where in the cache each n-gram belongs: the top bits of a product (Knuth's multiplicative hash)."""
    kind = codes.dtype.type
    width = codes.dtype.itemsize * 8
    factor = kind(0x9E3779B1 if width == 32 else 0x9E3779B97F4A7C15)
    slots: Codes = (codes * factor) >> kind(width - _SLOTS)
    return slots


def _firsts(codes: Codes, owners: NDArray[np.int64]) -> tuple[Codes, NDArray[np.int64]]:
    """Distinct codes, ascending, each with its least owner."""
    codes, owners = _by_code(codes, owners)
    starts = np.ones(len(codes), dtype=np.bool_)
    np.not_equal(codes[1:], codes[:-1], out=starts[1:])
    return codes[starts], owners[starts]


def _by_code(codes: Codes, owners: NDArray[np.int64]) -> tuple[Codes, NDArray[np.int64]]:
    """Both arrays ordered by code, then owner: one sort of a joint integer where both fit in 64 bits."""
    low = bits_of(owners)
    if bits_of(codes) + low > 64:
        order = np.lexsort((owners, codes))
        return codes[order], owners[order]
    joint = codes.astype(np.uint64) << np.uint64(low)
    joint |= owners.view(np.uint64)
    joint.sort()
    mask = np.uint64((1 << low) - 1)
    return (joint >> np.uint64(low)).astype(codes.dtype), (joint & mask).view(np.int64)
