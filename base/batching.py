"""Rows of unequal length cut into batches of bounded size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def padded_batches(lengths: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Indices of rows, longest first, in batches of at most `token_budget` tokens, padding included.

    `lengths` are in tokens; every row of a batch counts as its longest. A batch holds at least one row.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > token_budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
