"""`apportion demo-pool`: rebuild the demo pool that ships with the project."""

from __future__ import annotations

import argparse
import gzip
import json
import random
from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from annotation.config import EMBEDDED, ModelSource, SamplingConfig
from annotation.journal import opened_journal
from annotation.judging.judge import Scores
from annotation.pool_file import rows_of
from annotation.sampling.collect import Candidate, Collector, Writer
from annotation.sampling.sampler import Sampler
from base.errors import ConfigError, PoolError
from base.files import write_whole
from pools.demo.grammar import make_prompts
from pools.demo.requests import EXAMPLES, few_shot, tidy
from pools.demo.verifier import score
from pools.types import Prompt

SOURCE = "SmolLM2-135M-Instruct"
_DESCRIPTION = (
    "Model-made: requests and responses sampled from SmolLM2-135M-Instruct (Apache-2.0), constraints "
    "drawn at random, scores by a verifier of constraints; no person wrote or rated anything here."
)
_TOP_P = 0.95
_RESAMPLE = 3
_STOP = ("\n\nHuman:",)  # of the plain style, where the model goes on with another turn
_REQUEST_TEMPERATURE = 0.9
_REQUEST_TOKENS = 20
_LISTS = 4  # lists of examples that a family's requests continue in one round
_CONTINUATIONS = 16
_ROUNDS = 20
_SEEDS = 5_000_015  # more than the lists of one run

# (texts, copies, seed) -> for each text `copies` lines that go on from it, next to each other
LineWriter: TypeAlias = Callable[[Sequence[str], int, int], list[str]]
Row: TypeAlias = dict[str, Any]


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--output", type=Path, default=Path("demo.jsonl.gz"), metavar="FILE",
                        help="file to write (default demo.jsonl.gz)")  # fmt: skip
    for name, default, meaning in (
        ("prompts", 192, "train prompts"),
        ("held-out-prompts", 324, "held-out prompts, which get no responses"),
        ("responses", 8, "distinct responses a train prompt"),
        ("max-new-tokens", 24, "length of a response (tokens)"),
        ("seed", 0, "seed of all sampling"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, metavar="N",
                            help=f"{meaning} (default {default})")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Sample, score, write; prints what was made."""
    for name, least in (("prompts", 1), ("held_out_prompts", 0), ("responses", 1), ("max_new_tokens", 1)):
        if (value := getattr(args, name)) < least:
            raise ConfigError(f"--{name.replace('_', '-')} must be at least {least}, not {value}")
    requests = write_requests(load_writer(), count=args.prompts + args.held_out_prompts, seed=args.seed)
    train, held_out = make_prompts(
        requests, train=args.prompts, held_out=args.held_out_prompts, seed=args.seed
    )
    sampler = load_sampler(args.max_new_tokens)
    answers = sample(train, sampler, responses=args.responses, seed=args.seed)
    write_pool(args.output, pool_rows(train, answers, held_out))
    short = sum(len(texts) < args.responses for texts in answers)
    print(f"{args.output}: {len(train)} train and {len(held_out)} held-out prompts")
    if short:
        print(f"{short} train prompts came short of {args.responses} distinct responses")
    return 0


def load_sampler(max_new_tokens: int) -> Sampler:
    """The embedded model on the CPU, as one that responds to prompts.

    It computes in fp32, which every CPU does at full speed. Rounding differs between kinds of CPU and numbers
    of threads, and with it some of the text.
    """
    from annotation.sampling.local import LocalSampler

    sampling = SamplingConfig(
        temperature=0.8,
        top_p=_TOP_P,
        max_tokens=max_new_tokens,
        max_prompt_tokens=512,
        stop=_STOP,
        prompt_format="plain",
    )
    return LocalSampler(ModelSource(name=EMBEDDED, dtype="fp32"), sampling)


def load_writer() -> LineWriter:
    """The same model, as one that goes on with a text to the end of its line."""
    from trainers.generation.generate import Sampling, cut, generate
    from trainers.models import end_tokens, load_policy, load_tokenizer, resolve_model

    path = resolve_model(EMBEDDED)
    model, tokenizer = load_policy(path, dtype="fp32"), load_tokenizer(path)

    def write(lists: Sequence[str], copies: int, seed: int) -> list[str]:
        ids = generate(
            model,
            [tokenizer.encode(text) for text in lists],
            max_new_tokens=_REQUEST_TOKENS,
            eos_ids=end_tokens(model, tokenizer),
            pad_id=tokenizer.pad_token_id,
            sampling=Sampling(_REQUEST_TEMPERATURE, _TOP_P, seed),
            stop=("\n",),
            tokenizer=tokenizer,
            copies=copies,
        )
        return [cut(tokenizer.decode(each, skip_special_tokens=True), ("\n",)).strip() for each in ids]

    return write


def write_requests(writer: LineWriter, *, count: int, seed: int) -> dict[str, list[str]]:
    """`count` requests or a few more, as many of each family and no two alike, in the order of writing.

    PoolError where the model writes too few that are fit for use.
    """
    each = ceil(count / len(EXAMPLES))
    found: dict[str, list[str]] = {family: [] for family in EXAMPLES}
    rng = random.Random(seed)
    with _progress() as bar:
        task = bar.add_task("writing requests", total=each * len(EXAMPLES))
        for batch in range(_ROUNDS * len(EXAMPLES)):
            family = min(found, key=lambda name: len(found[name]))
            if len(found[family]) >= each:
                return {name: requests[:each] for name, requests in found.items()}
            lists = [few_shot(family, rng) for _ in range(_LISTS)]
            lines = writer(lists, _CONTINUATIONS, seed * _SEEDS + batch)
            found[family] = _fit(family, found[family], lines)
            bar.update(task, completed=sum(min(len(mine), each) for mine in found.values()))
    raise PoolError(f"the model wrote {min(map(len, found.values()))} requests of a family, not {each}")


def _fit(family: str, found: Sequence[str], lines: Sequence[str]) -> list[str]:
    """`found` and the requests that `lines` make, without repetition."""
    fresh = [request for line in lines if (request := tidy(family, line))]
    return [request for request in dict.fromkeys([*found, *fresh]) if request not in EXAMPLES[family]]


def sample(
    prompts: Sequence[Prompt], sampler: Sampler, *, responses: int, seed: int
) -> list[list[Candidate]]:
    """For each prompt `responses` distinct answers that are not empty; one whose answers hardly vary may come
    short of them."""
    with (
        TemporaryDirectory() as folder,
        opened_journal(Path(folder) / "responses.jsonl") as journal,
        _progress() as bar,
    ):
        task = bar.add_task("sampling", total=len(prompts) * responses)
        collector = Collector(
            prompts,
            [Writer(SOURCE, "demo", sampler)],
            journal,
            responses=responses,
            seed=seed,
            resample=_RESAMPLE,
        )
        return collector.collect(lambda done, total: bar.update(task, completed=done)).responses


def pool_rows(
    train: Sequence[Prompt], answers: Sequence[Sequence[Candidate]], held_out: Sequence[Prompt]
) -> list[Row]:
    """The pool's rows: train prompts with their answers and the verifier's scores, then held-out prompts."""
    scores = [
        Scores(tuple(score(prompt, answer.text) for answer in mine))
        for prompt, mine in zip(train, answers, strict=True)
    ]
    return list(rows_of(train, answers, held_out, scores))


def write_pool(path: Path, rows: Sequence[Row]) -> None:
    """Write a header line and the rows as gzipped JSON lines; equal rows give equal bytes, all or nothing."""
    header = {"pool": {"name": "demo", "description": _DESCRIPTION}}
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in [header, *rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, gzip.compress(lines.encode(), compresslevel=9, mtime=0))


def _progress() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)
