"""Every error that apportion raises for a user to read, in one tree.

Programming mistakes stay `assert`; what a user can fix is one of these. The message quotes the value
that was rejected and says what would be accepted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class ApportionError(ValueError):
    """Base of all errors meant for the user: printed at the command line as one line, without a traceback."""


class ConfigError(ApportionError):
    """A field of the configuration is unknown, malformed or at odds with another."""


class PoolError(ApportionError):
    """A pool cannot be read, or holds fewer prompts or responses than were asked for."""


class RewardError(ApportionError):
    """A reward model cannot be loaded, or returned something that is not a finite score for each response."""


class TrainingError(ApportionError):
    """A trial cannot continue: a loss that is not finite, a model that cannot be loaded."""


class NonRetryableError(TrainingError):
    """A trial failed on all its workers in the same way, and would fail so again: it is not retried."""


class CheckpointError(TrainingError):
    """A checkpoint cannot be written; the training itself can continue."""


class InsufficientDataError(ApportionError):
    """The finished trials do not support the answer that was asked for; the message says what to run."""


def did_you_mean(name: str, choices: list[str]) -> str:
    """`' (did you mean "x"?)'` for the nearest of `choices`, or an empty string where none is near."""
    from difflib import get_close_matches

    near = get_close_matches(name, choices, n=1)
    return f' (did you mean "{near[0]}"?)' if near else ""


def known(name: str, choices: Iterable[str]) -> str:
    """`name`, if it is one of `choices`; else ValueError, quoting them and the nearest."""
    found = list(choices)
    if name not in found:
        raise ValueError(f"choices: {', '.join(found)}{did_you_mean(name, found)}")
    return name


_NO_MEMORY = ("cannot allocate memory", "can't start new thread")  # a thread's stack wants memory too


@contextmanager
def loading(what: str, error: type[ApportionError]) -> Iterator[None]:
    """Raise `error` as "cannot load WHAT: reason" for whatever a library raises in the block.

    The reason is the first line of the library's own message. ApportionErrors pass unchanged; where
    memory ran out it is a MemoryError.
    """
    try:
        yield
    except ApportionError:
        raise
    except Exception as cause:
        lines = str(cause).strip().splitlines() or [type(cause).__name__]
        if isinstance(cause, MemoryError) or any(sign in lines[0].lower() for sign in _NO_MEMORY):
            raise MemoryError(f"{what}: {lines[0]}") from cause  # not the model's fault: see `explain_oom`
        raise error(f"cannot load {what}: {lines[0]}") from cause
