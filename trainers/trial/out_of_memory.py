"""An out-of-memory error explained: what to lower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from base.errors import TrainingError
from trainers.training.telemetry import peak_memory

_SIGNS = ("out of memory", "can't allocate memory", "not enough memory", "can't start new thread")


@contextmanager
def explain_oom(device: str) -> Iterator[None]:
    """Turn an out-of-memory error of torch or Python into a TrainingError that names the fields to change.

    A worker that the operating system or Ray kills for its memory raises nothing: `worker_pool` reports it.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error)
        if not isinstance(error, MemoryError) and not any(sign in text.lower() for sign in _SIGNS):
            raise
        reason = text.strip().splitlines()[0] if text.strip() else "MemoryError"
        raise TrainingError(
            f"out of memory on {device} after {peak_memory(device):.1f} GiB ({reason}): lower "
            "trainer.micro_batch_tokens or evaluation.batch_tokens, set trainer.activation_checkpointing, "
            "or give more workers with a higher trainer.zero_stage"
        ) from error
