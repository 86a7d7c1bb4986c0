"""`apportion label export | import`: labels out to raters, and what they say back into a scored pool."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from rich.console import Console

from base.errors import PoolError
from pools.response_choice import CHOICES
from search.commands.options import add_selection_options, add_tokenizer_option, tokenizer_of

if TYPE_CHECKING:
    from annotation.labels.tasks import Asked, Task
    from pools.types import Example

    Ask: TypeAlias = Callable[[Sequence[Example]], list[Asked]]

_TO = ("label-studio", "argilla", "csv", "page")
_KINDS = ("ranking", "pairwise", "rating")
_METHODS = ("reliability", "bradley_terry", "majority")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare both actions and their options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    export = actions.add_parser("export", help="write shuffled, blinded tasks for raters, and a key")
    back = actions.add_parser("import", help="read ratings back, check them, write a scored pool")
    _configure_export(export)
    _configure_import(back)
    for action in (export, back):
        action.set_defaults(options=action.format_help)


def _configure_export(action: argparse.ArgumentParser) -> None:
    action.add_argument("pool", metavar="POOL", help="pool with responses, scored or not, or demo")
    what = action.add_mutually_exclusive_group(required=True)
    what.add_argument("--split", metavar="NxKxR", help="prompts x responses x raters, as in 1200x4x2")
    what.add_argument(
        "--batch",
        type=Path,
        metavar="FILE",
        help="what `plan --after ... --output FILE` wrote: prompts, responses and raters, in its order",
    )
    action.add_argument("--to", required=True, choices=_TO, help="the tool that raters use")
    action.add_argument(
        "--kind",
        choices=_KINDS,
        default="ranking",
        help="the order of all responses, the better of each two, or 1 to 5 each (default ranking)",
    )
    action.add_argument(
        "--raters",
        default="",
        metavar="NAME,NAME",
        help="who judges; with more names than a prompt has raters, each gets a part (default rater-1, ...)",
    )
    add_selection_options(action, default="random")
    action.add_argument(
        "--response-choice",
        choices=CHOICES,
        default="random",
        help="which responses of a prompt: random; spread, those that stand for all; close or far, by the "
        "margins of the pool's judge_score (default random)",
    )
    action.add_argument(
        "--seed", type=int, default=0, help="decides all that is drawn and shuffled (default 0)"
    )
    add_tokenizer_option(action)
    action.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="the folder to write")
    action.add_argument("--overwrite", action="store_true", help="replace an export that is there")


def _configure_import(action: argparse.ArgumentParser) -> None:
    action.add_argument("files", nargs="+", type=Path, metavar="FILE", help="what the tools exported")
    action.add_argument("--pool", required=True, metavar="POOL", help="the pool that was exported")
    action.add_argument("--output", type=Path, required=True, metavar="FILE", help="the .jsonl(.gz) to write")
    action.add_argument(
        "--key",
        nargs="+",
        type=Path,
        metavar="KEY",
        help="key.jsonl of the exports (default: those beside the files)",
    )
    action.add_argument(
        "--method",
        choices=_METHODS,
        default="reliability",
        help="scores by Bradley-Terry with the raters' reliabilities, without them, or by majority "
        "(default reliability)",
    )
    action.add_argument(
        "--judge-scores",
        action="store_true",
        help="the exported pool's scores are a judge's: keep them beside the new ones, as judge_score",
    )
    action.add_argument(
        "--keep",
        nargs="+",
        default=[],
        metavar="REASON",
        help="do not drop for too_fast, hasty_rater, order_shown, contradicts, chance",
    )
    action.add_argument(
        "--raters-by",
        choices=("tool", "key"),
        default="tool",
        help="who a rater is: whom the tool names or, where several share one account, whom the key names "
        "(default tool)",
    )
    action.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default 0)")
    action.add_argument("--overwrite", action="store_true", help="write over an output that is there")


def run(args: argparse.Namespace) -> int:
    """Export or import."""
    return _export(args) if args.action == "export" else _import(args)


def _export(args: argparse.Namespace) -> int:
    """Write the folder; a summary to standard output."""
    from annotation.labels.key import KEY
    from annotation.labels.tasks import enough_names, plan_tasks, rater_names
    from annotation.labels.tools import write_tasks
    from annotation.pool_file import read_responses

    names = [name.strip() for name in args.raters.split(",") if name.strip()]
    ask = _split_asks(args, names) if args.batch is None else _batch_asks(args, names)
    _check_folder(args.output, overwrite=args.overwrite)
    with _busy("reading the pool"):
        pool, _ = read_responses(args.pool)
    with _busy("choosing prompts"):
        asked = ask(pool.train)
        most = max(one.raters for one in asked)
        raters = rater_names(names, most) if names else enough_names(asked)
        tasks = plan_tasks(asked, kind=args.kind, raters=raters, seed=args.seed)
    with _busy("writing"):
        write_tasks(args.output, args.to, tasks, args.kind, _about(args, pool.name))
    print("\n".join(_export_lines(args, asked, tasks)))
    print(f"keep {args.output / KEY}: `apportion label import` needs it", file=sys.stderr)
    return 0


def _split_asks(args: argparse.Namespace, names: Sequence[str]) -> Ask:
    """What --split asks for, of the examples of a pool."""
    from annotation.labels.choose import choose
    from annotation.labels.tasks import Asked, label_split, rater_names

    split = label_split(args.split)
    rater_names(names, split.raters)  # before the pool is read

    def ask(examples: Sequence[Example]) -> list[Asked]:
        chosen = choose(
            examples,
            split,
            selection=args.selection,
            strength=args.strength,
            seed=args.seed,
            response_choice=args.response_choice,
            tokenizer=lambda: tokenizer_of(args.tokenizer),
        )
        return [Asked(example, split.raters) for example in chosen]

    return ask


def _batch_asks(args: argparse.Namespace, names: Sequence[str]) -> Ask:
    """What --batch asks for, of the examples of a pool."""
    from annotation.labels.next_batch import choose_batch, raters_unsaid, read_batch

    rows = read_batch(args.batch)
    if args.selection != "random":
        raise PoolError(
            f"--selection {args.selection} is for --split: --batch {args.batch} has its own order"
        )
    if raters_unsaid(rows) and not names:
        raise PoolError(
            f"--batch {args.batch} asks for further raters and does not say who has judged: name those who "
            "have not with --raters"
        )
    return partial(choose_batch, rows=rows, seed=args.seed, response_choice=args.response_choice)


def _about(args: argparse.Namespace, pool: str) -> dict[str, Any]:
    """What the key says of the export."""
    what = {"split": args.split} if args.batch is None else {"batch": args.batch.name}
    about = {"pool": pool, **what, "selection": args.selection, "seed": args.seed}
    return about | ({} if args.response_choice == "random" else {"response_choice": args.response_choice})


def _export_lines(args: argparse.Namespace, asked: Sequence[Asked], tasks: Sequence[Task]) -> Iterator[str]:
    from annotation.labels.tasks import by_rater, label_split

    annotations = sum(len(one.example.responses) * one.raters for one in asked)
    what = f"{len(asked):,} prompts"
    if args.batch is None:
        _, responses, raters = label_split(args.split)
        what += f" x {responses} responses x {raters} raters"
    yield f"{args.output}: {what} ({annotations:,} annotations) in {len(tasks):,} tasks"
    for rater, own in by_rater(tasks).items():
        yield f"  {rater}: {len(own):,} tasks"


def _check_folder(folder: Path, *, overwrite: bool) -> None:
    """Raise PoolError where an export may not be written there."""
    from annotation.labels.key import KEY

    if not folder.exists():
        return
    if not (folder / KEY).is_file():
        raise PoolError(f"--output {folder} exists and is no export of labels: give another folder")
    if not overwrite:
        raise PoolError(
            f"--output {folder} exists; give another folder, or --overwrite (its key is then lost, "
            "without which answers to its tasks cannot be read)"
        )


def _import(args: argparse.Namespace) -> int:
    """Write the scored pool; an account of ratings and raters to standard output."""
    from annotation.labels.key import KEY, read_keys
    from annotation.labels.tools import read_ratings
    from annotation.pool_file import check_output, read_responses, write_pool
    from annotation.ratings.labelled import label, lines_of, made_of, rows_of
    from pools.config import PoolConfig
    from pools.sources import load_pool

    check_output(args.output, overwrite=args.overwrite, sources=[args.pool, *map(str, args.files)])
    key = read_keys(args.key or [path.parent / KEY for path in args.files])
    ratings = [rating for path in args.files for rating in read_ratings(path)]
    with _busy("reading the pool"):
        pool, made = read_responses(args.pool)
        held_out = load_pool(PoolConfig(path=args.pool, min_responses=0), seed=0)[0].held_out
    with _busy("scoring"):
        labelled = label(
            pool.train,
            ratings,
            key,
            method=args.method,
            keep=args.keep,
            raters_by_key=args.raters_by == "key",
            seed=args.seed,
        )
    rows = rows_of(labelled, held_out, judge_scores=args.judge_scores)
    written = write_pool(args.output, pool.name, {**made, "scores": made_of(labelled)}, rows)
    print("\n".join(lines_of(labelled)))
    print(f"{args.output}: {written - len(held_out):,} of {len(pool.train):,} train prompts have labels")
    return 0


@contextmanager
def _busy(what: str) -> Iterator[None]:
    with Console(stderr=True).status(what):
        yield
