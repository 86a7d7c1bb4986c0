"""Whether everything runs on this machine's GPU, and how fast: one command, under six minutes.

    python -m benchmarks.gpu_check [--only PART] [--minutes 5.8]
    python -m benchmarks.gpu_check --device cpu --tiny     # a dry run: its figures mean nothing

- machine: GPU, versions, the bf16 matrix rate.
- attention: FlexAttention's output and gradients, their errors by the norm, and milliseconds, against SDPA
  under a dense mask.
- step 135M, step 1.3B: forward and backward of PRO at k = 4 and 2, tokens/s, MFU and memory, against padded
  passes: k after one another, and all responses in one, as TRL's trainers encode them.
- zero 0, zero 2: whole optimiser steps of the DeepSpeed engine on one GPU, losses and tokens/s, against plain
  torch with float32 masters.
- generation: greedy answers to 168 prompts, against transformers' generate, 28 at a time as they come.
- vllm: the same prompts, answered by the engine of `evaluation.engine: vllm`, before and after the weights
  change, against our own generation.
- study: the smoke study with `resources.gpus_per_worker: 1`.

It needs torch and transformers; a part that needs more says what is missing. Each part is a process of its
own, so that one that fails, hangs or breaks the GPU's context ends alone, with its reason. MFU is the
share of the GPU's stated dense bf16 rate (of the rate measured here where that is not known) that the
unique tokens' matrix products take. Models have random weights, but for generation and study where the
embedded model is installed, and vllm, which needs it. Exits with 1 where a part failed; the last line is one
JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any

LIMITS = {  # seconds that a part may take, its imports included
    "machine": 60.0,
    "attention": 120.0,
    "step 135M": 90.0,
    "step 1.3B": 90.0,
    "zero 0": 60.0,
    "zero 2": 60.0,
    "generation": 90.0,
    "vllm": 100.0,
    "study": 170.0,
}


def outcome(name: str, device: str, *, tiny: bool) -> dict[str, Any]:
    """What the part `name` finds in this process: its status, and figures or the reason for having none."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        return {"status": "not run", "reason": "no CUDA"}
    try:
        from benchmarks._gpu_parts import PARTS, NotRunError, Where
    except ImportError as error:
        return {"status": "not run", "reason": str(error)}
    try:
        return {"status": "ok", "figures": PARTS[name](Where(device, tiny))}
    except NotRunError as reason:
        return {"status": "not run", "reason": str(reason)}
    except Exception as error:  # whatever a compiler, driver or library raises: the other parts go on
        lines = str(error).strip().splitlines() or [""]
        return {"status": "failed", "reason": f"{type(error).__name__}: {lines[0]:.300}"}


def apart(name: str, device: str, *, tiny: bool, seconds: float) -> dict[str, Any]:
    """The same from a process of its own, which ends after `seconds` at the latest."""
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--part", name, "--device", device]
    try:
        done = subprocess.run(
            command + ["--tiny"] * tiny, capture_output=True, text=True, timeout=max(seconds, 1.0)
        )
    except subprocess.TimeoutExpired:
        return {"status": "failed", "reason": f"not done after {seconds:.0f} s"}
    try:
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"status": "failed", "reason": f"ended with code {done.returncode}: {said:.300}"}
    return found


def table(name: str, found: dict[str, Any]) -> str:
    """The part's lines: its status, then a figure a line."""
    said = f": {found['reason']}" if "reason" in found else ""
    lines = [f"{name:<12}{found['status']}{said}  ({found['seconds']:.0f} s)"]
    return "\n".join(lines + [f"    {key:<34}{value}" for key, value in found.get("figures", {}).items()])


def check(names: list[str], device: str, *, tiny: bool, minutes: float) -> dict[str, dict[str, Any]]:
    """All parts after one another, printed as they end."""
    end = time.monotonic() + 60 * minutes
    parts = {}
    for name in names:
        started = time.monotonic()
        print(f"{name} ...", file=sys.stderr, flush=True)
        found = apart(name, device, tiny=tiny, seconds=min(LIMITS[name], end - started))
        parts[name] = {**found, "seconds": round(time.monotonic() - started, 1)}
        print(table(name, parts[name]), flush=True)
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--tiny", action="store_true", help="small models and inputs: a dry run")
    parser.add_argument("--quick", action="store_true", help="the dry run on a CPU, without the study")
    parser.add_argument("--only", action="append", choices=list(LIMITS), help="a part (repeatable)")
    parser.add_argument("--minutes", type=float, default=5.8, help="for all parts together")
    parser.add_argument("--part", choices=list(LIMITS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    device, tiny = ("cpu", True) if args.quick else (args.device, args.tiny)
    if args.part:
        print(json.dumps(outcome(args.part, device, tiny=tiny)))
        return
    parts = check(args.only or list(LIMITS), device, tiny=tiny, minutes=args.minutes)
    baseline = "dense mask; padded passes; plain torch; transformers generate"
    print(json.dumps({"benchmark": "gpu_check", "baseline": baseline, "device": device, "parts": parts}))
    sys.exit(any(found["status"] == "failed" for found in parts.values()))


if __name__ == "__main__":
    main()
