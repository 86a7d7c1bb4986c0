"""Where in a stream of prompts each distinct n-gram is first seen: the work behind D and its nested form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metrics.ngrams import Codes, NgramTable, bits_of
from metrics.tokens import offsets_of

Positions = NDArray[np.int64]

# N-grams looked up at once: few repeat among so many, and they stay in the processor's cache, as many of
# the slots do. A larger table knows more n-grams but answers more slowly (benchmarks/diversity.md).
_BLOCK = 1 << 16
_SLOTS = 20  # log2 of the n-grams remembered as seen
_SLACK = 1 << 22  # n-grams collected before duplicates among them are dropped


class Firsts:
    """Counts the distinct n-grams of all tables added, exactly, and which prompt has each of them first.

    Text repeats itself: a cache with one slot for each hash of an n-gram holds recent ones, and only n-grams
    that it does not hold are kept. Those evicted from it are kept again, and the last sort drops the
    duplicates, so the cache changes the speed and never the count. Memory follows the number of distinct
    n-grams (`held`), 16 bytes each and as much again while they are merged, and 8 bytes for each prompt, not
    the text.
    All tables must be packed to compare (one table, or one `vocabulary`).
    """

    def __init__(self) -> None:
        self.total = 0
        self._counts: list[Positions] = []
        self._cache: Codes = np.empty(0, np.uint32)
        self._codes: list[Codes] = []
        self._positions: list[Positions] = []
        self._pending = self._merged = 0

    @property
    def held(self) -> int:
        """N-grams in memory now; each distinct one at least once."""
        return self._merged + self._pending

    def add(self, table: NgramTable) -> None:
        """Add these prompts, which follow all that were added before."""
        self._counts.append(np.diff(table.offsets))
        if not len(self._cache):
            self._cache = np.zeros(1 << _SLOTS, dtype=table.codes.dtype)
            self._remember(table.codes[:0])  # marks slot 0
        for start in range(0, len(table.codes), _BLOCK):
            self._add(table.codes[start : start + _BLOCK])
            if self._pending > self._merged + _SLACK:
                self._merge()

    def codes(self) -> Codes:
        """The distinct n-grams, ascending."""
        return self._merge()[0]

    def distinct(self) -> int:
        """Number of distinct n-grams: those remembered, which need no sort, and those forgotten."""
        if not self._pending:
            return self._merged
        codes = np.concatenate(self._codes)
        forgotten = np.sort(codes[self._unknown(codes)])
        remembered = np.count_nonzero(self._cache) - 1  # slot 0 holds no n-gram
        return int(remembered + np.count_nonzero(_starts(forgotten)))

    def totals(self) -> Positions:
        """All n-grams of each prompt; shape [prompts]."""
        return np.concatenate([np.empty(0, np.int64), *self._counts])

    def per_prompt(self) -> Positions:
        """For each prompt, how many of its distinct n-grams no earlier prompt holds; shape [prompts]."""
        return np.diff(np.searchsorted(np.sort(self._merge()[1]), offsets_of(self.totals())))

    def _add(self, codes: Codes) -> None:
        unknown = np.flatnonzero(self._unknown(codes))
        self._codes.append(codes[unknown])
        self._positions.append(unknown + self.total)
        self._remember(self._codes[-1])
        self._pending += len(unknown)
        self.total += len(codes)

    def _merge(self) -> tuple[Codes, Positions]:
        if self._pending:
            self._codes, self._positions = (
                [merged] for merged in _firsts(np.concatenate(self._codes), np.concatenate(self._positions))
            )
            self._merged, self._pending = len(self._codes[0]), 0
        if not self._codes:
            return np.empty(0, np.uint32), np.empty(0, np.int64)
        return self._codes[0], self._positions[0]

    def _unknown(self, codes: Codes) -> NDArray[np.bool_]:
        return np.not_equal(self._cache.take(_slots(codes)), codes)

    def _remember(self, codes: Codes) -> None:
        self._cache[_slots(codes)] = codes
        self._cache[0] = 1  # whose own slot is another: nothing stays in slot 0, as empty slots read as 0


def first_seen(table: NgramTable) -> Positions:
    """For each prompt, how many of its distinct n-grams no earlier prompt holds; shape [n]."""
    firsts = Firsts()
    firsts.add(table)
    return firsts.per_prompt()


def _slots(codes: Codes) -> Codes:
    """Where in the cache each n-gram belongs: the top bits of a product (Knuth's multiplicative hash)."""
    kind = codes.dtype.type
    width = codes.dtype.itemsize * 8
    factor = kind(0x9E3779B1 if width == 32 else 0x9E3779B97F4A7C15)
    slots: Codes = codes * factor
    slots >>= kind(width - _SLOTS)
    return slots


def _firsts(codes: Codes, positions: Positions) -> tuple[Codes, Positions]:
    """Distinct codes, ascending, each with its least position."""
    codes, positions = _by_code(codes, positions)
    starts = _starts(codes)
    return codes[starts], positions[starts]


def _starts(ordered: Codes) -> NDArray[np.bool_]:
    """Where a run of equal values begins."""
    starts = np.ones(len(ordered), dtype=np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=starts[1:])
    return starts


def _by_code(codes: Codes, positions: Positions) -> tuple[Codes, Positions]:
    """Both arrays ordered by code, then position: one sort of a joint integer where both fit in 64 bits."""
    low = bits_of(positions)
    if bits_of(codes) + low > 64:
        order = np.lexsort((positions, codes))
        return codes[order], positions[order]
    joint = codes.astype(np.uint64) << np.uint64(low)
    joint |= positions.view(np.uint64)
    joint.sort()
    mask = np.uint64((1 << low) - 1)
    return (joint >> np.uint64(low)).astype(codes.dtype), (joint & mask).view(np.int64)
