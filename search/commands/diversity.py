"""`apportion diversity PATH...`: prompt diversity of files of any size."""

from __future__ import annotations

import argparse
import json
from functools import partial
from itertools import islice
from typing import Any

from metrics.embedding import SentenceEmbedder, Spread, baselines_of
from metrics.scale import EXACT_LIMIT, Measured, StreamCounter
from metrics.tokens import MAX_TOKENS, tokenize, vocabulary_size
from pools.prompts import PromptFiles, Tally, nothing_usable
from search.commands.options import add_format_options, add_tokenizer_option, reader_of, texts, tokenizer_of

_BATCH = 4096  # prompts in memory at once


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "paths", nargs="+", metavar="PATH", help="jsonl, jsonl.gz, parquet, glob, folder or hub id"
    )
    add_format_options(parser)
    parser.add_argument("--field", default="", metavar="COLUMN", help="the column that holds the prompt")
    add_tokenizer_option(parser)
    _add_formula_options(parser)
    _add_engine_options(parser)
    parser.add_argument(
        "--embedding-model",
        default="",
        metavar="MODEL",
        help="sentence-embedding model (folder or hub id): adds mean pairwise distance and Vendi score",
    )
    parser.add_argument(
        "--keep-repeats", action="store_true", help="count prompts that repeat an earlier one"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    tally = Tally()
    measured, baselines = (_on_ray(args), {}) if args.engine == "ray" else _streamed(args, tally)
    if not measured.prompts:
        raise nothing_usable(_files(args), tally)
    account = _account(args, measured, tally) | baselines
    print(json.dumps(account) if args.json else "\n".join(_lines(account, tally)))
    return 0


def _add_formula_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--order", type=int, choices=(1, 2, 3, 4), default=2, help="n of the n-grams (default 2)"
    )
    parser.add_argument(
        "--exponent", type=float, default=0.5, help="power of the number of prompts (default 0.5)"
    )
    parser.add_argument(
        "--max-tokens",
        type=int,
        default=MAX_TOKENS,
        help=f"each prompt is cut to so many tokens (default {MAX_TOKENS})",
    )


def _add_engine_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine",
        choices=("auto", "exact", "approximate", "ray"),
        default="auto",
        help="auto: exact up to --limit, then HyperLogLog (0.2%% standard error); ray: exact on a cluster, "
        "started here unless one runs; it keeps repeated prompts and fits no curve (default auto)",
    )
    parser.add_argument(
        "--limit",
        type=int,
        default=EXACT_LIMIT,
        metavar="COUNT",
        help=f"distinct n-grams and prompts it may hold exactly, 40 bytes each (default {EXACT_LIMIT:,})",
    )
    parser.add_argument(
        "--workers", type=int, default=2, help="tokenizing workers of --engine ray (default 2)"
    )


def _files(args: argparse.Namespace) -> PromptFiles:
    return PromptFiles(
        paths=args.paths, format=args.format, field=args.field, split=args.split, subset=args.subset
    )


def _streamed(args: argparse.Namespace, tally: Tally) -> tuple[Measured, dict[str, float]]:
    tokenizer = tokenizer_of(args.tokenizer)
    counter = StreamCounter(
        vocabulary_size(tokenizer), order=args.order, engine=args.engine, limit=args.limit
    )
    embedder = SentenceEmbedder(args.embedding_model) if args.embedding_model else None
    spread = Spread(embedder.width) if embedder else None
    stream = texts(_files(args), tally, keep_repeats=args.keep_repeats, quiet=args.json)
    while batch := list(islice(stream, _BATCH)):
        counter.add(tokenize(batch, tokenizer, args.max_tokens))
        if embedder and spread:
            spread.add(embedder.embed(batch))
    return counter.result(), baselines_of(spread) if spread else {}


def _on_ray(args: argparse.Namespace) -> Measured:
    import ray

    from metrics.ray_count import count_on_ray

    ray.init(ignore_reinit_error=True, log_to_driver=False)
    files = _files(args)
    return count_on_ray(
        files.sources(),
        reader_of(files),
        partial(tokenizer_of, args.tokenizer),
        order=args.order,
        max_tokens=args.max_tokens,
        workers=args.workers,
    )


def _account(args: argparse.Namespace, measured: Measured, tally: Tally) -> dict[str, Any]:
    heaps = measured.heaps(args.exponent)
    diversity = measured.diversity(args.exponent)
    return {
        "diversity": diversity,
        "diversity_standard_error": diversity * measured.error,
        "exact": measured.error == 0.0,
        "order": args.order,
        "exponent": args.exponent,
        "tokenizer": args.tokenizer,
        "max_tokens": args.max_tokens,
        "prompts": measured.prompts,
        "tokens": measured.tokens,
        "mean_prompt_tokens": measured.tokens / max(measured.prompts, 1),
        "ngrams": measured.total,
        "distinct_ngrams": measured.distinct,
        "repeats_left_out": tally.repeats,
        "rows_left_out": dict(tally.flaws),
        "heaps": vars(heaps) if heaps else None,
    }


def _lines(account: dict[str, Any], tally: Tally) -> list[str]:
    error = account["diversity_standard_error"]
    length = f"{account['mean_prompt_tokens']:.1f} tokens (mean, cut to {account['max_tokens']})"
    return [
        f"diversity D       {account['diversity']:.4f}"
        + (f" (standard error {error:.4f})" if error else " (exact)"),
        f"prompts           {account['prompts']:,}",
        f"prompt length     {length}",
        f"{account['order']}-grams           {account['ngrams']:,}",
        f"distinct          {account['distinct_ngrams']:,.0f}",
        *(
            f"{name:<18}{account[name]:.4f}"
            for name in ("embedding_distance", "vendi_score")
            if name in account
        ),
        *_growth(account["heaps"]),
        *tally.lines(),
    ]


def _growth(heaps: dict[str, Any] | None) -> list[str]:
    """What Heaps' law says of more prompts like these."""
    if heaps is None:
        return []
    law = f"distinct grow as text ** {heaps['exponent']:.2f} (lately {heaps['recent_exponent']:.2f})"
    if heaps["peak_prompts"] is None:
        end = "D still grows with more prompts like these"
    elif heaps["peak_seen"]:
        end = f"D was largest at {heaps['peak_prompts']:,.0f} prompts and has fallen since"
    else:
        end = f"D stops growing near {heaps['peak_prompts']:,.0f} prompts, if the curve bends on as it does"
    return [f"Heaps' law        {law}", f"growth            {end}"]
