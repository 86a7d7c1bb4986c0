"""Where libraries talk to: everything that a worker writes to its terminal goes to a file of the study."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STREAMS = (1, 2)  # standard output and error, as the operating system numbers them


@contextmanager
def captured(path: Path | None) -> Iterator[None]:
    """Append what the block writes to standard output and error to `path`, compiled code's words included.

    An exception is written there with its traceback, and passed on.
    With None, or where `path` has no folder (a node that does not share the study's), nothing changes.
    """
    if path is None or not path.parent.is_dir():
        yield
        return
    before = [os.dup(stream) for stream in STREAMS]
    with path.open("ab") as file:
        _point_to([file.fileno()] * len(STREAMS))
    try:
        yield
    except Exception:
        traceback.print_exc()
        raise
    finally:
        _point_to(before)
        for stream in before:
            os.close(stream)


def _point_to(targets: list[int]) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    for stream, target in zip(STREAMS, targets, strict=True):
        os.dup2(target, stream)
