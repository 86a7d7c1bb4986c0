"""What answering held-out prompts costs: ours against fixed batches in arrival order.

    python -m benchmarks.generation [--quick] [--prompts FILE] [--count 168] [--new-tokens 128] [--vllm]

FILE is JSONL or JSONL.gz with a `prompt` in each line, or `demo`, held-out prompts of the demo pool; without
it, prompts of random tokens with the length spread of instruction data. The baseline is transformers'
generate on batches of 28 prompts as they come, padded, which decodes until the last row of a batch has ended.
Greedy, same model and precision. Figures are CPU seconds of the process: with one thread, wall time less what
other programs took. Where vLLM is installed, `--vllm` adds the engine of `evaluation.engine: vllm`: its start
once, and answering with weights that are taken from memory, as every evaluation does.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import statistics
import time
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch

from pools.types import Prompt
from trainers.generation.generate import generate
from trainers.models import load_policy, load_tokenizer, resolve_model
from trainers.prompt_format import tokenize_prompts


def fixed_batches(
    model: Any, prompts: list[list[int]], new_tokens: int, eos: int, rows: int = 28
) -> list[list[int]]:
    """Answers from transformers' generate, `rows` prompts at a time in the order given."""
    answers: list[list[int]] = []
    for start in range(0, len(prompts), rows):
        part = prompts[start : start + rows]
        width = max(map(len, part))
        ids = torch.tensor([[eos] * (width - len(p)) + p for p in part], device=model.device)
        mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in part], device=model.device)
        out = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=new_tokens, do_sample=False,
            eos_token_id=eos, pad_token_id=eos,
        )  # fmt: skip
        answers += [row[: row.index(eos)] if eos in row else row for row in out[:, width:].tolist()]
    return answers


def read_prompts(path: Path | None, tokenizer: Any, count: int) -> list[list[int]]:
    if path is None:
        rng = random.Random(1)
        lengths = [min(512, 30 + int(rng.lognormvariate(3.2, 1.0))) for _ in range(count)]
        return [[rng.randrange(100, 40000) for _ in range(length)] for length in lengths]
    if str(path) == "demo":
        from pools.config import PoolConfig  # which need more than torch and transformers
        from pools.sources import load_pool

        pool, _ = load_pool(PoolConfig(path="demo", held_out_prompts=count), seed=0)
        asked = [example.prompt for example in pool.held_out]
    else:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rt") as file:
            asked = [Prompt(json.loads(line)["prompt"]) for line in file][:count]
    return tokenize_prompts(asked, tokenizer, style="auto", max_tokens=512)


def vllm_engine(path: str, dtype: str, longest: int, budget: int = 16384, device: str = "cpu") -> Any:
    """The engine that answers for `evaluation.engine: vllm`, for prompts and answers of `longest` tokens."""
    from trainers.generation.vllm import EngineSettings, VllmEngine

    return VllmEngine(EngineSettings(path=path, dtype=dtype, longest=longest, cached=budget, device=device))


def shared_start(ours: list[int], theirs: list[int]) -> float:
    """Share of the longer answer up to the first difference."""
    longest = max(len(ours), len(theirs))
    same = next((i for i, (a, b) in enumerate(zip_longest(ours, theirs)) if a != b), longest)
    return same / longest if longest else 1.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="28 prompts, 16 new tokens")
    parser.add_argument("--prompts", type=Path, help="JSONL(.gz) with a prompt in each line, or demo")
    parser.add_argument("--count", type=int, default=168)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--budget", type=int, default=16384, help="token budget of a batch")
    parser.add_argument("--dtype", default="bf16", choices=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--vllm", action="store_true", help="vLLM too, where it is installed")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    count, new_tokens = (28, 16) if args.quick else (args.count, args.new_tokens)
    path = resolve_model("embedded:smollm2-135m")
    model, tokenizer = load_policy(path, dtype=args.dtype), load_tokenizer(path)
    eos, prompts = tokenizer.eos_token_id, read_prompts(args.prompts, tokenizer, count)
    options = {"max_new_tokens": new_tokens, "eos_ids": [eos], "pad_id": eos, "token_budget": args.budget}
    started = time.process_time()
    ours = generate(model, prompts, **options)
    between = time.process_time()
    theirs = fixed_batches(model, prompts, new_tokens, eos)
    baseline, seconds = time.process_time() - between, between - started
    figures: dict[str, Any] = {
        "benchmark": "generation",
        "baseline": "transformers generate, 28 prompts in arrival order",
        "dtype": args.dtype,
        "prompts": len(prompts),
        "mean_prompt": round(statistics.fmean(map(len, prompts)), 1),
        "mean_answer": round(statistics.fmean(map(len, ours)), 1),
        "seconds": {"ours": round(seconds, 1), "baseline": round(baseline, 1)},
        "speedup": round(baseline / seconds, 2),
        "shared_start": round(statistics.fmean(map(shared_start, ours, theirs)), 3),
    }
    if args.vllm:
        longest = max(map(len, prompts)) + new_tokens
        started = time.process_time()
        engine = vllm_engine(path, args.dtype, longest, args.budget)
        engine.answer(model, prompts[:1], max_new_tokens=2, eos_ids=[eos])  # warms up
        between = time.process_time()
        answers = engine.answer(model, prompts, max_new_tokens=new_tokens, eos_ids=[eos])
        figures["seconds"]["vllm"] = round(time.process_time() - between, 1)
        figures["seconds"]["vllm_start"] = round(between - started, 1)
        figures["over_vllm"] = round(figures["seconds"]["vllm"] / seconds, 2)
        figures["shared_start_vllm"] = round(statistics.fmean(map(shared_start, ours, answers)), 3)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
