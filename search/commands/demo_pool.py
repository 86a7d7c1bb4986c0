"""`apportion demo-pool`: rebuild the demo pool that ships with the project."""

from __future__ import annotations

import argparse
import gzip
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from base.errors import ConfigError
from pools.demo.grammar import make_prompts
from pools.demo.verifier import score
from pools.types import Prompt

MODEL = "embedded:smollm2-135m"
SOURCE = "SmolLM2-135M-Instruct"
_DESCRIPTION = (
    "Model-made: prompts from a seeded grammar, responses sampled from SmolLM2-135M-Instruct (Apache-2.0), "
    "scores by a constraint verifier; no person wrote or rated anything here."
)
_TEMPERATURE = 0.8
_TOP_P = 0.95
_PROMPTS_A_BATCH = 8
_WAVES = 4

# (prompts, seed) -> one sampled answer to each prompt
Sampler = Callable[[Sequence[Prompt], int], list[str]]
Row = dict[str, Any]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--output", type=Path, default=Path("demo.jsonl.gz"), metavar="FILE",
                        help="file to write (default demo.jsonl.gz)")  # fmt: skip
    for name, default, meaning in (
        ("prompts", 600, "train prompts"),
        ("held-out-prompts", 96, "held-out prompts, which get no responses"),
        ("responses", 8, "distinct responses a train prompt"),
        ("max-new-tokens", 48, "length of a response (tokens)"),
        ("seed", 0, "seed of the prompts and of the sampling"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N",
                            help=f"{meaning} (default {default})")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Sample, score, write; prints what was made."""
    for name, least in (("prompts", 1), ("held_out_prompts", 0), ("responses", 1), ("max_new_tokens", 1)):
        if (value := getattr(args, name)) < least:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least {least}, not {value}")
    train, held_out = make_prompts(train=args.prompts, held_out=args.held_out_prompts, seed=args.seed)
    sampler = load_sampler(args.max_new_tokens)
    answers = sample(train, sampler, responses=args.responses, seed=args.seed)
    write_pool(args.output, pool_rows(train, answers, held_out))
    short = sum(len(texts) < args.responses for texts in answers)
    print(f"{args.output}: {len(train)} train and {len(held_out)} held-out prompts")
    if short:
        print(f"{short} train prompts came short of {args.responses} distinct responses")
    return 0


def load_sampler(max_new_tokens: int) -> Sampler:
    """A sampler over the embedded model, in bf16 on the CPU.

    Rounding differs between kinds of CPU and numbers of threads, and with it some of the answers.
    """
    from trainers.generation.generate import Sampling, generate
    from trainers.models import end_tokens, load_policy, load_tokenizer, resolve_model
    from trainers.prompt_format import tokenize_prompts

    path = resolve_model(MODEL)
    model, tokenizer = load_policy(path), load_tokenizer(path)

    def draw(prompts: Sequence[Prompt], seed: int) -> list[str]:
        ids = generate(
            model,
            tokenize_prompts(prompts, tokenizer, style="auto", max_tokens=512),
            max_new_tokens=max_new_tokens,
            eos_ids=end_tokens(model, tokenizer),
            pad_id=tokenizer.pad_token_id,
            sampling=Sampling(temperature=_TEMPERATURE, top_p=_TOP_P, seed=seed),
        )
        return [str(tokenizer.decode(answer, skip_special_tokens=True)).strip() for answer in ids]

    return draw


def sample(prompts: Sequence[Prompt], sampler: Sampler, *, responses: int, seed: int) -> list[list[str]]:
    """For each prompt `responses` distinct answers that are not empty, in the order in which they were drawn.

    What is missing after a wave is drawn again in the next; a prompt whose answers hardly vary may come short
    of `responses` after the last wave.
    """
    answers: list[list[str]] = [[] for _ in prompts]
    with _progress() as bar:
        task = bar.add_task("sampling", total=len(prompts) * responses)
        for wave in range(_WAVES):
            open_rows = [row for row, texts in enumerate(answers) if len(texts) < responses]
            for start in range(0, len(open_rows), _PROMPTS_A_BATCH):
                batch = open_rows[start : start + _PROMPTS_A_BATCH]
                copies = [row for row in batch for _ in range(responses - len(answers[row]))]
                drawn = sampler([prompts[row] for row in copies], _batch_seed(seed, wave, start))
                for row, text in zip(copies, drawn, strict=True):
                    if text and text not in answers[row]:
                        answers[row].append(text)
                bar.update(task, completed=sum(map(len, answers)))
    return answers


def pool_rows(
    train: Sequence[Prompt], answers: Sequence[Sequence[str]], held_out: Sequence[Prompt]
) -> list[Row]:
    """The pool's rows: train prompts with their answers and the verifier's scores, then held-out prompts."""
    scored = [
        [{"text": text, "score": round(score(prompt, text), 6), "source": SOURCE} for text in texts]
        for prompt, texts in zip(train, answers, strict=True)
    ]
    rows = [
        _row(prompt, "train") | {"responses": responses}
        for prompt, responses in zip(train, scored, strict=True)
    ]
    return rows + [_row(prompt, "held_out") for prompt in held_out]


def write_pool(path: Path, rows: Sequence[Row]) -> None:
    """Write a header line and the rows as gzipped JSON lines; equal rows give equal bytes, all or nothing."""
    header = {"pool": {"name": "demo", "description": _DESCRIPTION}}
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in [header, *rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as partial:
        partial.write(gzip.compress(lines.encode(), compresslevel=9, mtime=0))
    try:
        os.chmod(partial.name, 0o644)  # temporary files are private, a pool is not
        os.replace(partial.name, path)
    except OSError:
        os.unlink(partial.name)
        raise


def _row(prompt: Prompt, part: str) -> Row:
    return {"prompt": prompt.text, "domain": prompt.domain, "part": part, "meta": dict(prompt.meta)}


def _batch_seed(seed: int, wave: int, start: int) -> int:
    return (seed * _WAVES + wave) * 1_000_003 + start


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)
