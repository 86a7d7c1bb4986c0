"""What a training costs: seconds by phase, padding, memory. Imports no torch by itself."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers.policy.batching import Batch

PHASES = ("data", "forward", "backward", "step")
GIB = 2**30


class Stopwatch:
    """Seconds spent in named phases, one after the other.

    On a GPU, phases are marked by events in its stream and read later: measuring does not synchronise.
    """

    def __init__(self, device: str) -> None:
        self._cuda = device.startswith("cuda")
        self._marks: list[tuple[str, Any]] = []
        self._last: Any = None

    def start(self) -> None:
        """Begin a phase: the time since the last lap belongs to none."""
        self._last = self._now()

    def lap(self, phase: str) -> None:
        """The time since the last lap, or start, was spent in `phase`."""
        now = self._now()
        self._marks.append((phase, (self._last, now)))
        self._last = now

    def read(self) -> dict[str, float]:
        """Seconds by phase since the last call."""
        seconds: dict[str, float] = defaultdict(float)
        if self._cuda and self._marks:
            self._marks[-1][1][1].synchronize()
        for phase, (before, after) in self._marks:
            seconds[phase] += before.elapsed_time(after) / 1000 if self._cuda else after - before
        self._marks.clear()
        return seconds

    def _now(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        import torch

        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event


def reset_peak_memory(device: str) -> None:
    """Let `peak_memory` count from now on, and free what no tensor uses: workers outlive trials."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):  # only Linux can; elsewhere the peak is that of all trials so far
            Path("/proc/self/clear_refs").write_text("5")


def release_memory() -> None:
    """Give freed memory back to the system: unreachable objects', and what the C allocator holds back.

    glibc keeps freed pieces of up to 32 MB, most weights, gradients and activations among them.
    """
    gc.collect()
    with suppress(OSError, AttributeError):  # only glibc can
        ctypes.CDLL(None).malloc_trim(0)


def peak_memory(device: str) -> float:
    """Maximum memory of this worker since `reset_peak_memory` (GiB): of its GPU, or resident on a CPU."""
    if device.startswith("cuda"):
        import torch

        return float(torch.cuda.max_memory_allocated(device)) / GIB
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB


def padded_tokens(batch: Batch) -> tuple[int, int]:
    """(padding, all) tokens of a batch with one row per response and its prompt, padded to the longest."""
    rows = [segment.prompt + response for segment in batch.segments for response in segment.responses]
    padded = len(rows) * max(rows)
    return padded - sum(rows), padded


def summed(telemetry: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Several trainings' telemetry as one: seconds add up, memory is the maximum, the others are means."""
    rows = list(telemetry)
    found: dict[str, float] = {}
    for name in sorted(set().union(*rows)):
        values = [row[name] for row in rows if name in row]
        if name.startswith("seconds_"):
            found[name] = sum(values)
        else:
            found[name] = max(values) if name.startswith("peak_") else sum(values) / len(values)
    return found
