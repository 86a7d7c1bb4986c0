"""What a run costs: seconds and memory, on a CPU or a GPU, and the arithmetic that it needs."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from trainers.policy.batching import Ranking, collate
from trainers.policy.visibility import row_mask


def metered(run: Callable[[], object], device: torch.device) -> tuple[float, float]:
    """Seconds of `run`, and the peak of memory beyond what was held before (MB).

    On a CPU seconds and memory of this process; on a GPU of the clock until it is idle, and of its memory.
    """
    return _on_gpu(run) if device.type == "cuda" else _on_cpu(run)


def _on_cpu(run: Callable[[], object]) -> tuple[float, float]:
    _reset_peak()
    before, started = resident_mb("VmRSS"), time.process_time()
    run()
    return time.process_time() - started, resident_mb("VmHWM") - before


def _on_gpu(run: Callable[[], object]) -> tuple[float, float]:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before, started = torch.cuda.memory_allocated(), time.perf_counter()
    run()
    torch.cuda.synchronize()
    return time.perf_counter() - started, (torch.cuda.max_memory_allocated() - before) / 2**20


def _reset_peak() -> None:
    ctypes.CDLL(None).malloc_trim(0)  # what the allocator holds back would hide the next peak
    Path("/proc/self/clear_refs").write_text("5")


def resident_mb(field: str) -> float:
    """A line of /proc/self/status, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def needed_flops(model: Any, rankings: Sequence[Ranking]) -> float:
    """Floating-point operations of a forward and a backward pass over the unique tokens, in matrix products.

    6 for each weight of a linear layer and token, the head's at predicted tokens only, and 12 x width x
    layers for each pair of a token and one that it sees; nothing made twice is counted twice.
    """
    batch, config = collate(rankings), model.config
    layers = [module for module in model.model.modules() if isinstance(module, torch.nn.Linear)]
    weights: int = sum(layer.weight.numel() for layer in layers)
    head: int = model.get_output_embeddings().weight.numel()
    pairs = int(row_mask(batch.segments, batch.input_ids.device).sum())
    products = weights * batch.tokens + head * len(batch.targets)
    size: int = config.hidden_size * config.num_hidden_layers
    return 6.0 * products + 12.0 * pairs * size
