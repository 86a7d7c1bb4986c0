"""What a training step costs: ours (each prompt encoded once) against k sequential padded passes.

    python -m benchmarks.train_step [--quick] [--hh FILE] [--long FILE] [--seed 1] [--dtype bf16]
    python -m benchmarks.train_step --device cuda --rounds 20 [--model opt-1.3b-shape] [--peak-tflops 989]

The naive baseline runs response i of every prompt in pass i with its own copy of the prompt, padded, and
log-softmax over the vocabulary at every position. The floor is a bare forward and backward of the Hugging
Face model over the same unique tokens as one causal row with SDPA: no loss, no packing, no mask. All
variants run in turn in one process, on the same weights and tokens; figures are medians over rounds, in
CPU seconds of the process (with one thread that is wall time less what other programs took), or on a GPU in
seconds of the clock until it is idle again. Models called a shape have random weights. With `--peak-tflops`
(the GPU's own, for the precision) each variant's share of it is told, for the work of the unique tokens.
"""

from __future__ import annotations

import argparse
import copy
import gzip
import json
import random
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM

from benchmarks._metered import metered, needed_flops
from trainers.algorithms.pro import PRO
from trainers.models import load_policy, load_tokenizer, resolve_model
from trainers.policy.batching import Ranking, collate
from trainers.policy.policy import Path as Way
from trainers.policy.policy import Policy, ResponseLogps

# Token counts of four HH-RLHF harmless dialogues and of answers, for machines without the data.
HH_PROMPTS = (61, 118, 203, 322)
HH_ANSWERS = (24, 38, 57, 92, 128, 31, 66, 45)
EMBEDDED = "embedded:smollm2-135m"
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
# OPT-1.3B's, but for the positions: the floor's row of all tokens is longer than its 2,048.
_OPT = {
    "hidden_size": 2048,
    "word_embed_proj_dim": 2048,
    "ffn_dim": 8192,
    "num_hidden_layers": 24,
    "num_attention_heads": 32,
    "vocab_size": 50272,
    "max_position_embeddings": 4096,
    "dropout": 0.0,
}
_SMOLLM2 = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
_TINY = {**_SMOLLM2, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2}
_TINY |= {"num_attention_heads": 4, "num_key_value_heads": 2}
SHAPES: dict[str, tuple[Any, Any]] = {
    "opt-1.3b-shape": (OPTForCausalLM, OPTConfig(**_OPT)),
    "smollm2-135m-shape": (LlamaForCausalLM, LlamaConfig(**_SMOLLM2)),
    "tiny-shape": (LlamaForCausalLM, LlamaConfig(**_TINY)),
}
TIMED = ("naive", "ours", "floor", "body")


def naive_logps(model: Any, rankings: Sequence[Ranking]) -> ResponseLogps:
    """Per-response log-probabilities as ranking trainers commonly get them; every ranking has k responses."""
    k = len(rankings[0].response_ids)
    totals = [_padded_pass(model, [(r.prompt_ids, r.response_ids[i]) for r in rankings]) for i in range(k)]
    return ResponseLogps(torch.stack(totals, 1).flatten(), _response_tokens(model, rankings))


def padded_logps(model: Any, rankings: Sequence[Ranking]) -> ResponseLogps:
    """The same from one pass over all responses with their prompts, which is how TRL encodes pairs."""
    rows = [(ranking.prompt_ids, ids) for ranking in rankings for ids in ranking.response_ids]
    return ResponseLogps(_padded_pass(model, rows), _response_tokens(model, rankings))


def _response_tokens(model: Any, rankings: Sequence[Ranking]) -> Tensor:
    tokens = [float(len(ids)) for ranking in rankings for ids in ranking.response_ids]
    return torch.tensor(tokens, device=model.device)


def naive_alone(model: Any, rankings: Sequence[Ranking]) -> ResponseLogps:
    """The same from one prompt at a time, so that nothing is padded: only the rounding differs."""
    parts = [naive_logps(model, [ranking]) for ranking in rankings]
    return ResponseLogps(*(torch.cat(values) for values in zip(*parts, strict=True)))


def _padded_pass(model: Any, pairs: Sequence[tuple[list[int], list[int]]]) -> Tensor:
    """[B]: the summed log-probability of the response in each of `pairs` (prompt, response), padded."""
    device = model.device
    rows = [torch.tensor(prompt + response) for prompt, response in pairs]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    starts = torch.tensor([len(prompt) for prompt, _ in pairs], device=device)
    places = torch.arange(ids.shape[1], device=device)
    logits = model(input_ids=ids, attention_mask=(places < lengths[:, None]).long(), use_cache=False).logits
    picked = logits[:, :-1].float().log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    answer = (places[1:] >= starts[:, None]) & (places[1:] < lengths[:, None])
    return (picked * answer).sum(1)


def hh_rankings(path: Path | None, tokenizer: Any, prompts: int, k: int, seed: int) -> list[Ranking]:
    """Rankings shaped as HH-RLHF: real dialogues and answers from `path`, else token counts as theirs."""
    rng = random.Random(seed)
    if path is None:

        def words(count: int) -> list[int]:
            return [rng.randrange(100, 40000) for _ in range(count)]

        lengths = [HH_PROMPTS[i % len(HH_PROMPTS)] for i in range(prompts)]
        return [_ranking(words(n), [words(rng.choice(HH_ANSWERS)) for _ in range(k)]) for n in lengths]
    with gzip.open(path, "rt") as file:
        chosen = [json.loads(line)["chosen"] for line in file]
    split = [text.rpartition("\n\nAssistant:") for text in rng.sample(chosen, prompts * (k + 1))]
    encode = [(tokenizer.encode(a + b)[-512:], tokenizer.encode(c)[:128] or [2]) for a, b, c in split]
    answers = [ids for _, ids in encode]
    return [_ranking(encode[i][0], answers[prompts + i * k : prompts + (i + 1) * k]) for i in range(prompts)]


def drawn_answers(prompts: int, k: int, seed: int) -> list[Ranking]:
    """Short prompts with answers of 200 to 500 tokens, where sharing the prompt saves least.

    Their lengths are nearer to each other than those of real answers, so that naive pads little.
    """
    rng = random.Random(seed)

    def words(low: int, high: int) -> list[int]:
        return [rng.randrange(100, 40000) for _ in range(rng.randint(low, high))]

    return [_ranking(words(15, 40), [words(200, 500) for _ in range(k)]) for _ in range(prompts)]


def real_answers(path: Path, tokenizer: Any, prompts: int, k: int, seed: int) -> list[Ranking]:
    """Real prompts, each with k of its own answers, from a pool with `prompt` and `responses` a line."""
    rng = random.Random(seed)
    with gzip.open(path, "rt") as file:
        rows = rng.sample([json.loads(line) for line in file], prompts)

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(text)[:512]
        return ids

    answers = [[encode(answer["text"]) for answer in rng.sample(row["responses"], k)] for row in rows]
    return [_ranking(encode(row["prompt"]), texts) for row, texts in zip(rows, answers, strict=True)]


def padding(rankings: Sequence[Ranking]) -> float:
    """Tokens that naive encodes, prompts repeated and rows padded, for one of ours."""
    rows = [[len(r.prompt_ids) + len(ids) for ids in r.response_ids] for r in rankings]
    passes = zip(*rows, strict=True)
    return sum(len(rankings) * max(lengths) for lengths in passes) / sum(r.tokens for r in rankings)


def _ranking(prompt: list[int], answers: list[list[int]]) -> Ranking:
    k = len(answers)
    return Ranking(prompt, tuple(answers), tuple(1 - i / k for i in range(k)))


def step_variants(policy: Policy, rankings: list[Ranking]) -> dict[str, Callable[[], Tensor]]:
    """One loss + backward for each way; all return the loss (the floor a number without meaning)."""
    model: Any = policy.model
    batch = collate(rankings).to(model.device)
    algorithm = PRO()
    row = batch.input_ids[None]

    def ours() -> Tensor:
        return _backward(algorithm.loss(policy(batch), batch).total)

    def naive() -> Tensor:
        return _backward(algorithm.loss(naive_logps(model, rankings), batch).total)

    def padded() -> Tensor:
        return _backward(algorithm.loss(padded_logps(model, rankings), batch).total)

    def alone() -> Tensor:
        return _backward(algorithm.loss(naive_alone(model, rankings), batch).total)

    def floor() -> Tensor:
        return _backward(model(input_ids=row, use_cache=False).logits.sum())

    def body() -> Tensor:
        return _backward(model.model(input_ids=row, use_cache=False).last_hidden_state.sum())

    variants = {"naive": naive, "padded": padded, "naive_alone": alone}
    return {**variants, "ours": ours, "floor": floor, "body": body}


def _backward(loss: Tensor) -> Tensor:
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()


def measure(
    model: Any,
    rankings: list[Ranking],
    rounds: int,
    peak_tflops: float | None,
    *,
    timed: Sequence[str] = TIMED,
    way: Way = "auto",
) -> dict[str, Any]:
    """Median seconds and peak extra memory of the variants `timed`, and what ours is to them.

    Rounds are interleaved. Ours encodes prompts by `way` (see `Policy.path`).
    """
    policy = Policy(model, way)
    variants = step_variants(policy, rankings)
    model.train()
    agreement = compare(model, rankings, variants)  # warms up too, and leaves the gradients allocated
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    memory: dict[str, float] = {}
    for _ in range(rounds):
        for name in timed:
            model.zero_grad(set_to_none=False)
            taken, memory[name] = metered(variants[name], model.device)
            seconds[name].append(taken)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    tokens, work = collate(rankings).tokens, needed_flops(model, rankings) / 1e12
    shares = {name: work / value / peak_tflops for name, value in medians.items()} if peak_tflops else {}
    return {
        "path": policy.path,
        "note": policy.note,
        "tokens": tokens,
        "tokens_of_naive": round(padding(rankings), 2),
        "seconds": {name: round(value, 4) for name, value in medians.items()},
        "tokens_per_second": {name: round(tokens / value) for name, value in medians.items()},
        "share_of_peak": {name: round(value, 3) for name, value in shares.items()},
        "speedup_over_naive": round(medians["naive"] / medians["ours"], 2),
        "ratio_to_floor": round(medians["ours"] / medians["floor"], 2),
        "ratio_to_body": round(medians["ours"] / medians["body"], 2),
        "memory_mb": {name: round(value) for name, value in memory.items()},
        "memory_to_naive": round(memory["ours"] / memory["naive"], 2),
        **agreement,
    }


def compare(model: Any, rankings: list[Ranking], variants: dict[str, Callable[[], Tensor]]) -> dict[str, Any]:
    """Relative differences in loss and in the whole gradient: ours from naive, and both from exact.

    A gradient's is the norm of the difference; its length alone, which decides about clipping, is told too.
    Exact is naive with the same weights in float32.
    """
    exact = copy.deepcopy(model).float()
    losses, gradients = {}, {}
    for name in ("naive_alone", "naive", "ours"):
        losses[name], gradients[name] = _gradient(model, variants[name])
    exact_loss, exact_gradient = _gradient(exact, step_variants(Policy(exact, "plain"), rankings)["naive"])
    return {
        "loss_gap": abs(losses["ours"] / losses["naive"] - 1),
        "gradient_gap": _distance(gradients["ours"], gradients["naive"]),
        "gradient_length_gap": abs(_length(gradients["ours"]) / _length(gradients["naive"]) - 1),
        "gradient_gap_of_naive_alone": _distance(gradients["naive_alone"], gradients["naive"]),
        "loss_error": {name: abs(loss / exact_loss - 1) for name, loss in losses.items()},
        "gradient_error": {name: _distance(g, exact_gradient) for name, g in gradients.items()},
    }


def _gradient(model: Any, variant: Callable[[], Tensor]) -> tuple[float, list[Tensor]]:
    model.zero_grad()
    loss = float(variant())
    return loss, [p.grad.clone() for p in model.parameters() if p.grad is not None]


def _distance(got: list[Tensor], expected: list[Tensor]) -> float:
    gaps = [a.float() - b.float() for a, b in zip(got, expected, strict=True)]
    return _length(gaps) / _length(expected)


def _length(gradient: list[Tensor]) -> float:
    return sum(float(part.float().square().sum()) for part in gradient) ** 0.5


def load_model(name: str, dtype: str, device: str) -> Any:
    """The model at a path, or one of `SHAPES` with random weights, on `device`."""
    if name not in SHAPES:
        return load_policy(resolve_model(name), dtype=dtype).to(device)
    build, config = SHAPES[name]
    torch.manual_seed(0)
    with torch.device(device):  # billions of random numbers take a GPU no time
        return build(config).to(DTYPES[dtype])


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Declare which texts are trained on, and how many of them."""
    parser.add_argument("--quick", action="store_true", help="one round of the first case")
    parser.add_argument("--hh", type=Path, help="HH-RLHF file (.jsonl.gz) for real prompts and answers")
    parser.add_argument("--long", type=Path, help="pool (.jsonl.gz) with long answers to short prompts")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_data_options(parser)
    parser.add_argument("--model", default=EMBEDDED, help=f"a model's path, or {', '.join(SHAPES)}")
    parser.add_argument("--dtype", default="bf16", choices=["fp32", "bf16"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--peak-tflops", type=float, help="what the device is said to reach (TFLOP/s)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1, help="which prompts and answers are drawn")
    parser.add_argument("--case", action="append", help="run only this case (repeatable)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = load_model(args.model, args.dtype, args.device)
    tokenizer = load_tokenizer(resolve_model(EMBEDDED if args.model in SHAPES else args.model))
    cases = {
        "hh_k4": hh_rankings(args.hh, tokenizer, prompts=4, k=4, seed=args.seed),
        "hh_k2": hh_rankings(args.hh, tokenizer, prompts=4, k=2, seed=args.seed),
        "long_answers": drawn_answers(prompts=2, k=4, seed=args.seed),
    }
    if args.long is not None:
        cases["real_long_answers"] = real_answers(args.long, tokenizer, prompts=2, k=4, seed=args.seed)
    chosen = args.case or (["hh_k4"] if args.quick else list(cases))
    results = {}
    for name in chosen:
        rounds = 1 if args.quick else args.rounds
        results[name] = measure(model, cases[name], rounds, args.peak_tflops)
        print(name, json.dumps(results[name]), flush=True)
    print(json.dumps({"benchmark": "train_step", "baseline": "naive", "dtype": args.dtype, **results}))


if __name__ == "__main__":
    main()
