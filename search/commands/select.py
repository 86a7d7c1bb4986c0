"""`apportion select POOL --prompts N`: which prompts to label first."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from base.errors import PoolError
from metrics.diversity import diversity, nested_diversity
from metrics.ngrams import pack_ngrams
from metrics.tokens import TokenTable, tokenize
from pools.selection import select_order
from pools.subset import order as seeded_order
from pools.types import Prompt
from search.commands.options import (
    add_pool_options,
    add_selection_options,
    add_tokenizer_option,
    check_output,
    content_of,
    opened,
    pool_of,
    tokenizer_of,
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_pool_options(parser)
    add_tokenizer_option(parser)
    parser.add_argument("--prompts", type=int, required=True, metavar="N", help="how many to choose (count)")
    add_selection_options(parser, default="diverse")


def run(args: argparse.Namespace) -> int:
    """Write the chosen prompts in labelling order, one JSON object a line; a summary to standard error."""
    check_output(args)
    examples = pool_of(args).train
    prompts = [example.prompt for example in examples]
    if not 1 <= args.prompts <= len(prompts):
        raise PoolError(f"--prompts is {args.prompts}, but the pool has {len(prompts)} prompts to label")
    tokens = tokenize((prompt.text for prompt in prompts), tokenizer_of(args.tokenizer))
    order, gains = select_order(
        pack_ngrams(tokens, 2),
        tokens.lengths,
        kind=args.selection,
        strength=args.strength,
        seed=args.seed,
        prompts=args.prompts,
        shuffled=seeded_order(examples, args.seed),
    )
    with opened(args.output) as out:
        for row in _rows([prompts[index] for index in order], gains.tolist(), tokens.take(order)):
            print(json.dumps(row, ensure_ascii=False), file=out)
    print(_summary(tokens, tokens.take(order)), file=sys.stderr)
    return 0


def _rows(chosen: Sequence[Prompt], gains: Sequence[int], tokens: TokenTable) -> Iterator[dict[str, Any]]:
    nested, lengths = nested_diversity(tokens).tolist(), tokens.lengths.tolist()
    for row_number, prompt in enumerate(chosen):
        row: dict[str, Any] = {"rank": row_number + 1, "prompt": content_of(prompt), "domain": prompt.domain}
        row |= {"meta": dict(prompt.meta)} if prompt.meta else {}
        yield row | {
            "gain": gains[row_number],
            "tokens": lengths[row_number],
            "diversity": nested[row_number],
        }


def _summary(pool: TokenTable, chosen: TokenTable) -> str:
    return (
        f"{len(chosen):,} of {len(pool):,} prompts, D {diversity(chosen):.4f}; mean length "
        f"{chosen.lengths.mean():.1f} tokens, of the pool {pool.lengths.mean():.1f}"
    )
