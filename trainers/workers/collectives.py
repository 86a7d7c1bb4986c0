"""Collectives over a trial's workers: gather a value, raise one rank's error on all ranks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from base.errors import NonRetryableError
from trainers.workers.context import WorkerContext

T = TypeVar("T")


def all_gather(value: T, context: WorkerContext) -> list[T]:
    """Every worker's `value`, by rank, on every worker: a collective."""
    if context.world_size == 1:
        return [value]
    import torch.distributed as dist

    values: list[T | None] = [None] * context.world_size
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]


@contextmanager
def raise_on_all(
    context: WorkerContext, *kinds: type[Exception], raising: type[Exception] = NonRetryableError
) -> Iterator[None]:
    """Run the block on every worker; an error of one of `kinds` on one of them is `raising` on all.

    Without it the other workers would wait in their next collective for the one that failed. So the block
    itself must hold no collective after a statement that may fail.
    """
    failure: Exception | None = None
    try:
        yield
    except kinds as error:
        failure = error
    reasons = all_gather(None if failure is None else str(failure) or type(failure).__name__, context)
    if first := next((reason for reason in reasons if reason is not None), None):
        raise raising(first) from failure
