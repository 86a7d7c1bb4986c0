"""A worker's standard output and error, written to a log file of the study."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STREAMS = (1, 2)  # file descriptors of standard output and error


@contextmanager
def captured(path: Path | None) -> Iterator[None]:
    """Append what the block writes to standard output and error, also from compiled code, to `path`.

    An exception is written there with its traceback, and raised again.
    With None, or where `path` has no folder (a node that does not share the study's), nothing changes.
    """
    if path is None or not path.parent.is_dir():
        yield
        return
    before = [os.dup(stream) for stream in STREAMS]
    with path.open("ab") as file:
        _redirect([file.fileno()] * len(STREAMS))
    try:
        yield
    except Exception:
        traceback.print_exc()
        raise
    finally:
        _redirect(before)
        for stream in before:
            os.close(stream)


def _redirect(targets: list[int]) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    for stream, target in zip(STREAMS, targets, strict=True):
        os.dup2(target, stream)
