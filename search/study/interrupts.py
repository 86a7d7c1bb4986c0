"""Ctrl-C and SIGTERM: the first one ends a study tidily, further ones do not cut that short."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stoppable() -> Iterator[Callable[[], None]]:
    """Raise KeyboardInterrupt in the block at the first SIGINT or SIGTERM; ignore them while it winds up.

    Yields a function that installs the handlers again, for after a library (Ray) has put its own there.
    Also works where a parent process had SIGINT ignored, as shells do for background jobs.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def stop(*_: Any) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    def arm() -> None:
        for number in SIGNALS:
            signal.signal(number, stop)

    arm()
    try:
        yield arm
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
