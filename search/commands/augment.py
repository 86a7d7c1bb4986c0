"""`apportion augment POOL --prompts N`: propose new prompts that raise diversity."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from annotation.augment import Account, augment
from annotation.proposers import EndpointProposer, LocalProposer, Proposer
from base.errors import ConfigError
from metrics.diversity import diversity
from metrics.tokens import TokenTable, tokenize
from search.commands.options import (
    TOKENIZER,
    add_pool_options,
    add_tokenizer_option,
    bar,
    check_output,
    opened,
    pool_of,
    tokenizer_of,
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_pool_options(parser)
    add_tokenizer_option(parser)
    parser.add_argument(
        "--prompts", type=int, required=True, metavar="N", help="how many to add at most (count)"
    )
    parser.add_argument(
        "--model",
        default=TOKENIZER,
        help=f"causal language model: folder, hub id, or name at --endpoint ({TOKENIZER})",
    )
    parser.add_argument(
        "--endpoint", metavar="URL", help="OpenAI-compatible endpoint, up to /v1; its key is OPENAI_API_KEY"
    )
    parser.add_argument("--temperature", type=float, default=1.0, help="of sampling, over 0 (default 1)")
    parser.add_argument(
        "--oversample", type=float, default=4.0, help="proposals for each prompt asked (default 4)"
    )


def run(args: argparse.Namespace) -> int:
    """Write the new prompts as rows of a pool; what became of the others goes to standard error."""
    for name, least in (("prompts", 1), ("oversample", 1), ("temperature", 1e-6)):
        if getattr(args, name) < least:
            raise ConfigError(f"--{name} is {getattr(args, name)}; the least is {least}")
    check_output(args)
    pool = pool_of(args)
    train, held_out = ([example.prompt.text for example in part] for part in (pool.train, pool.held_out))
    tokenizer = tokenizer_of(args.tokenizer)
    with bar() as progress:
        account = augment(
            train,
            held_out,
            _proposer(args),
            tokenizer,
            prompts=args.prompts,
            oversample=args.oversample,
            seed=args.seed,
            progress=progress,
        )
    with opened(args.output) as out:
        for row in _rows(account, args.model):
            print(json.dumps(row, ensure_ascii=False), file=out)
    print("\n".join(_summary(account, args.prompts, tokenize(train, tokenizer), tokenizer)), file=sys.stderr)
    return 0


def _proposer(args: argparse.Namespace) -> Proposer:
    if args.endpoint:
        return EndpointProposer(args.endpoint, args.model, temperature=args.temperature)
    return LocalProposer(args.model, temperature=args.temperature, seed=args.seed)


def _rows(account: Account, model: str) -> list[dict[str, Any]]:
    return [
        {
            "prompt": proposal.text,
            "meta": {"model_made": True, "model": model},
            "gain": proposal.gain,
            "tokens": proposal.tokens,
        }
        for proposal in account.chosen
    ]


def _summary(account: Account, asked: int, pool: TokenTable, tokenizer: Any) -> list[str]:
    new = tokenize((proposal.text for proposal in account.chosen), tokenizer)
    both = TokenTable.concatenate([pool, new])
    lines = [
        f"{account.proposed} proposed: {account.unusable} of unusual length, {account.near_pool} copies, "
        f"{account.near_held_out} near held-out prompts; {len(new)} kept",
        f"D {diversity(pool):.4f} -> {diversity(both):.4f}; mean length {pool.lengths.mean():.1f} -> "
        f"{both.lengths.mean():.1f} tokens",
    ]
    short = f"only {len(new)} of {asked} were found: raise --oversample or --temperature"
    return lines + ([short] if len(new) < asked else [])
