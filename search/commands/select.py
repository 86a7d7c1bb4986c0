"""`apportion select POOL --prompts N`: which prompts to label first."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, get_args

from metrics.diversity import nested_diversity
from metrics.ngrams import pack_ngrams
from metrics.tokens import TokenTable, tokenize
from pools.errors import PoolError
from pools.prompts import Tally, stream_prompts
from pools.selection import Selection, select_order
from pools.subset import order as seeded_order
from pools.types import Example, Prompt
from search.prompt_options import add_file_options, add_tokenizer_option, files_of, tokenizer_of


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "paths", nargs="+", metavar="POOL", help="file, glob, folder or hub id; responses are not needed"
    )
    add_file_options(parser)
    add_tokenizer_option(parser)
    parser.add_argument("--prompts", type=int, required=True, metavar="N", help="how many to choose (count)")
    parser.add_argument(
        "--selection",
        choices=get_args(Selection),
        default="diverse",
        help="diverse: most new bigrams first, mean length held; narrow: fewest; random: as a study draws "
        "(default diverse)",
    )
    parser.add_argument(
        "--strength", type=float, default=1.0, help="share of greedy picks, 0 to 1 (default 1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="decides the shuffle and all ties (default 0)")
    parser.add_argument(
        "--output", metavar="FILE", help="write the JSON lines there (default: standard output)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the chosen prompts in labelling order, one JSON object a line; a summary to standard error."""
    tally = Tally()
    prompts = list(stream_prompts(files_of(args), tally))
    if not 1 <= args.prompts <= len(prompts):
        raise PoolError(f"--prompts is {args.prompts}, but the pool has {len(prompts)} prompts")
    tokens = tokenize((prompt.text for prompt in prompts), tokenizer_of(args.tokenizer))
    order, gains = select_order(
        pack_ngrams(tokens, 2),
        tokens.lengths,
        kind=args.selection,
        strength=args.strength,
        seed=args.seed,
        prompts=args.prompts,
        shuffled=seeded_order([Example(prompt, ()) for prompt in prompts], args.seed),
    )
    chosen = [prompts[index] for index in order]
    with _opened(args.output) as out:
        for row in _rows(chosen, gains.tolist(), tokens.take(order)):
            print(json.dumps(row, ensure_ascii=False), file=out)
    print("\n".join(_summary(tokens, order.tolist(), tally)), file=sys.stderr)
    return 0


def content_of(prompt: Prompt) -> str | list[dict[str, str]]:
    """The prompt as our JSON lines hold it: a text, or a list of turns."""
    return prompt.content if isinstance(prompt.content, str) else [vars(turn) for turn in prompt.content]


def _rows(chosen: Sequence[Prompt], gains: Sequence[int], tokens: TokenTable) -> Iterator[dict[str, Any]]:
    nested, lengths = nested_diversity(tokens).tolist(), tokens.lengths.tolist()
    for place, prompt in enumerate(chosen):
        row: dict[str, Any] = {"rank": place + 1, "prompt": content_of(prompt), "domain": prompt.domain}
        row |= {"meta": dict(prompt.meta)} if prompt.meta else {}
        yield row | {"gain": gains[place], "tokens": lengths[place], "diversity": nested[place]}


def _summary(tokens: TokenTable, order: Sequence[int], tally: Tally) -> list[str]:
    subset = tokens.take(order)
    return [
        f"{len(subset):,} of {len(tokens):,} prompts, D {nested_diversity(subset)[-1]:.4f}",
        f"mean length {subset.lengths.mean():.1f} tokens, of the pool {tokens.lengths.mean():.1f}",
        *tally.lines(),
    ]


@contextmanager
def _opened(path: str | None) -> Iterator[TextIO]:
    if path is None:
        yield sys.stdout
        return
    try:
        with Path(path).open("w", encoding="utf-8") as out:
            yield out
    except OSError as error:
        raise PoolError(f"{path}: {error.strerror or error}") from None
