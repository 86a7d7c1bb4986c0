"""What drawing several responses to each prompt costs: our sampler against transformers in fixed batches.

    python -m benchmarks.sampling [--quick] [--model NAME] [--prompts 48] [--responses 8] [--new-tokens 64]
        [--threads 1] [--dtype fp32] [--vllm]

Prompts are the demo grammar's. The baseline is transformers' generate on batches of the same number of rows,
prompts as they come, with `num_return_sequences`, which decodes until its last row has ended. Same model,
precision, temperature and nucleus. Figures are CPU seconds of the process: with one thread, wall time less
what other programs took. `tokens` are the response tokens of each side, which sampling makes unequal: the
ratio is of seconds a token. Where vLLM is installed, `--vllm` adds its figures, loading left out.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from typing import Any

import torch

from annotation.config import EMBEDDED, ModelSource, SamplingConfig
from annotation.sampling.local import LocalSampler
from annotation.sampling.sampler import Drawn, Request, messages_of
from pools.demo.grammar import make_prompts
from pools.demo.requests import EXAMPLES
from pools.types import Prompt
from trainers.models import load_policy, load_tokenizer, resolve_model
from trainers.prompt_format import tokenize_prompts

ROWS = 64


def ours(sampler: LocalSampler, prompts: Sequence[Prompt], responses: int) -> int:
    """Response tokens drawn by our sampler, prompts sorted by length as a pool's are."""
    ordered = sorted(prompts, key=lambda prompt: -len(prompt.text))
    requests = [Request(prompt, seed) for prompt in ordered for seed in range(responses)]
    units = [requests[start : start + ROWS] for start in range(0, len(requests), ROWS)]
    results = (one for _, unit in sampler.sample(units) for one in unit)
    return sum(one.tokens_out for one in results if isinstance(one, Drawn))


def fixed_batches(
    model: Any, ids: Sequence[list[int]], eos: int, responses: int, sampling: SamplingConfig
) -> int:
    """Response tokens drawn by transformers, `ROWS` rows at a time in the order given."""
    tokens, size = 0, max(1, ROWS // responses)
    for start in range(0, len(ids), size):
        part = ids[start : start + size]
        width = max(map(len, part))
        out = model.generate(
            input_ids=torch.tensor([[eos] * (width - len(p)) + p for p in part]),
            attention_mask=torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in part]),
            max_new_tokens=sampling.max_tokens, do_sample=True, temperature=sampling.temperature, top_k=0,
            top_p=sampling.top_p, num_return_sequences=responses, eos_token_id=eos, pad_token_id=eos,
        )  # fmt: skip
        rows = out[:, width:].tolist()
        tokens += sum(row.index(eos) if eos in row else len(row) for row in rows)
    return tokens


def with_vllm(
    path: str, prompts: Sequence[Prompt], responses: int, sampling: SamplingConfig, dtype: str
) -> tuple[float, int]:
    """CPU seconds and response tokens of vLLM's offline engine, in this process, after it was loaded."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    from vllm import LLM, SamplingParams  # type: ignore[import-not-found]

    engine = LLM(
        path, dtype={"fp32": "float32", "bf16": "bfloat16"}[dtype], max_num_seqs=ROWS, max_model_len=512
    )
    messages = [messages_of(prompt) for prompt in prompts]
    engine.chat(messages[:1], SamplingParams(max_tokens=2))
    parameters = SamplingParams(
        n=responses, temperature=sampling.temperature, top_p=sampling.top_p, max_tokens=sampling.max_tokens
    )
    started = time.process_time()
    outputs = engine.chat(messages, parameters)
    tokens = sum(len(each.token_ids) for output in outputs for each in output.outputs)
    return time.process_time() - started, tokens


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="8 prompts, 12 new tokens")
    parser.add_argument("--model", default=EMBEDDED)
    parser.add_argument("--prompts", type=int, default=48)
    parser.add_argument("--responses", type=int, default=8)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32", help="precision of the weights")
    parser.add_argument("--vllm", action="store_true", help="vLLM too, where it is installed")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    count, new_tokens = (8, 12) if args.quick else (args.prompts, args.new_tokens)
    sampling = SamplingConfig(max_tokens=new_tokens)
    prompts = make_prompts(EXAMPLES, train=count, held_out=0, seed=1)[0]
    path = resolve_model(args.model)
    sampler = LocalSampler(ModelSource(name=args.model, batch=ROWS, dtype=args.dtype), sampling)
    model, tokenizer = load_policy(path, dtype=args.dtype).eval(), load_tokenizer(path)
    ids = tokenize_prompts(prompts, tokenizer, style="auto", max_tokens=sampling.max_prompt_tokens)
    fixed_batches(model, ids[:1], int(tokenizer.eos_token_id), 1, SamplingConfig(max_tokens=2))
    started = time.process_time()
    own_tokens = ours(sampler, prompts, args.responses)
    between = time.process_time()
    their_tokens = fixed_batches(model, ids, int(tokenizer.eos_token_id), args.responses, sampling)
    own, theirs = between - started, time.process_time() - between
    figures: dict[str, Any] = {
        "benchmark": "sampling",
        "baseline": f"transformers generate, {ROWS} rows in arrival order, num_return_sequences",
        "prompts": count,
        "responses": args.responses,
        "new_tokens": new_tokens,
        "dtype": args.dtype,
        "seconds": {"ours": round(own, 2), "baseline": round(theirs, 2)},
        "tokens": {"ours": own_tokens, "baseline": their_tokens},
        "speedup": round((theirs / their_tokens) / (own / own_tokens), 2),
    }
    if args.vllm:
        seconds, tokens = with_vllm(path, prompts, args.responses, sampling, args.dtype)
        figures["seconds"]["vllm"], figures["tokens"]["vllm"] = round(seconds, 2), tokens
        figures["speedup_over_vllm"] = round((seconds / tokens) / (own / own_tokens), 2)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
