"""Every error that apportion raises for a user to read, in one tree.

Programming mistakes stay `assert`; what a user can mend is one of these. The message names the value
that was refused and what would be accepted.
"""

from __future__ import annotations


class ApportionError(ValueError):
    """Base of all errors meant for the user: printed at the command line as one line, without a traceback."""


class ConfigError(ApportionError):
    """A field of the configuration is unknown, malformed or at odds with another."""


class PoolError(ApportionError):
    """A pool cannot be read, or holds too little of what was asked of it."""


class RewardError(ApportionError):
    """A reward model cannot be loaded, or returned something that is not a finite score for each response."""


class TrainingError(ApportionError):
    """A trial cannot continue: a loss that is not finite, a model that cannot be loaded."""


class NonRetryableError(TrainingError):
    """A trial ends on all its workers alike; trying again would end the same way."""


class CheckpointError(TrainingError):
    """A checkpoint cannot be written; the training itself can continue."""


class InsufficientDataError(ApportionError):
    """The trials at hand do not support the answer that was asked for; the message says what to run."""


def did_you_mean(name: str, choices: list[str]) -> str:
    """`' (did you mean "x"?)'` for the nearest of `choices`, or an empty string where none is near."""
    from difflib import get_close_matches

    near = get_close_matches(name, choices, n=1)
    return f' (did you mean "{near[0]}"?)' if near else ""
