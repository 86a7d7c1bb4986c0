"""`apportion pool make | sample | judge`: from bare prompts to responses, and from these to a scored pool."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from annotation.config import MakeConfig
from search.commands.fields import add_fields, given
from search.config.load import checked, read_tree

if TYPE_CHECKING:
    from annotation.make import Sampled, Work

_ACTIONS = {
    "make": "draw responses to prompts, score them, and write a pool",
    "sample": "draw responses to prompts, and write them without scores",
    "judge": "score the responses in a file, and write a pool",
}
_OPTIONS: dict[str, dict[str, Any]] = {
    "--output": {"type": Path, "required": True, "metavar": "FILE", "help": "the .jsonl(.gz) to write"},
    "--config": {"type": Path, "metavar": "FILE.yaml", "help": "the fields below, as a mapping"},
    "--work": {
        "type": Path,
        "metavar": "FOLDER",
        "help": "journals of what is paid for [default: the output's name and .work]",
    },
    "--overwrite": {"action": "store_true", "help": "write over an output that is there"},
    "--dry-run": {
        "action": "store_true",
        "help": "draw and judge a small part, say what the whole will take, and stop",
    },
}
_BETWEEN_LINES = 60  # seconds
_NOT_FOR_JUDGE = ("pool.", "sampling.", "model.", "more_models", "responses", "prompts")


def configure_actions(actions: Any) -> None:
    """Declare the three actions; each runs `run`."""
    for name, summary in _ACTIONS.items():
        action = actions.add_parser(name, help=summary, description=summary)
        what = "responses, scored or not" if name == "judge" else "prompts, in any format of a pool"
        action.add_argument("path", nargs="?", metavar="FILE", help=f"{what} (or pool.path in the YAML)")
        for flag, options in _OPTIONS.items():
            action.add_argument(flag, **options)
        if name == "judge":
            action.add_argument(
                "--beside",
                action="store_true",
                help="leave the pool's scores and ratings as they are, and write judge_score beside them",
            )
        add_fields(action, MakeConfig, title=name, wanted=partial(_is_field_of, name))
        action.set_defaults(run=run, options=action.format_help)


def _is_field_of(action: str, field: str) -> bool:
    if action == "sample":
        return not field.startswith("judge.") and field != "pool.path"
    return field != "pool.path" and not (action == "judge" and field.startswith(_NOT_FOR_JUDGE))


def run(args: argparse.Namespace) -> int:
    """Do what is asked; returns 0, or 1 where a prompt or a response stayed without an answer."""
    from annotation.make import opened_work
    from annotation.pool_file import check_output

    config = _config(args)
    check_output(args.output, overwrite=args.overwrite or args.dry_run, sources=[config.pool.path])
    folder = args.work or args.output.with_name(f"{args.output.name}.work")
    with opened_work(folder, config.max_cost) as work, _ray(config, folder):
        if args.dry_run:
            return _dry_run(args, config, work)
        return _make(args, config, work)


def _config(args: argparse.Namespace) -> MakeConfig:
    tree = read_tree(args.config) if args.config else {}
    if args.path is not None:
        tree["pool"] = {**tree.get("pool", {}), "path": args.path}
    where = str(args.config) if args.config else f"pool {args.action}"
    return checked(MakeConfig, tree, given(args, MakeConfig), where)


def _make(args: argparse.Namespace, config: MakeConfig, work: Work) -> int:
    from annotation.make import judge, read_sampled, sample, write

    if args.action == "judge":
        sampled = read_sampled(config.pool.path, scored=args.beside)
    else:
        with _bar("responses") as show:
            sampled = sample(config, work, show, judged=args.action == "make")
        _say(_lines_of(sampled))
    scores, made, unscored = None, sampled.made, 0
    if args.action != "sample":
        with _bar("scores") as show:
            scores, made, account = judge(config, work, sampled, show)
        _say(account.lines)
        unscored = sum(value is None for each in scores for value in each.values)
    rows = write(args.output, sampled, made, scores)
    print(f"{args.output}: {rows:,} prompts")
    if work.purse.spent:
        print(f"cost {work.purse.spent:.4g}")
    if unscored:
        what = "no judge_score" if sampled.pool else "no score and were left out"
        print(f"{unscored:,} responses have {what}", file=sys.stderr)
    return 1 if unscored or (sampled.collected is not None and sampled.collected.failed) else 0


def _lines_of(sampled: Sampled) -> Iterator[str]:
    collected, prompts = sampled.collected, sampled.prompts.train
    assert collected is not None
    had = sum(map(len, collected.responses))
    yield from sampled.prompts.left_out
    yield (
        f"{had:,} responses to {len(prompts):,} prompts: {collected.drawn:,} "
        f"drawn ({collected.redrawn:,} again, for one that was empty or repeated), {collected.truncated:,} "
        f"cut off; {collected.tokens_in:,} tokens in, {collected.tokens_out:,} out"
    )
    for index in collected.short:
        why = collected.failed.get(index, "its responses hardly vary")
        yield f"  {len(collected.responses[index])} responses to {prompts[index].text[:60]!r}: {why}"


def _dry_run(args: argparse.Namespace, config: MakeConfig, work: Work) -> int:
    from annotation.make import estimates, prompts_of

    prompts = prompts_of(config)
    print(f"{len(prompts.train):,} prompts, {len(prompts.held_out):,} more are held out")
    _say(prompts.left_out)
    with _bar("measuring") as show:
        found = estimates(config, work, prompts, show, judged=args.action != "sample")
    for estimate in found:
        print(estimate.line())
    seconds, cost = sum(each.seconds for each in found), sum(each.cost for each in found)
    print(
        f"together {seconds / 60:,.1f} minutes, cost {cost:,.4g}; nothing is written, what was drawn is kept"
    )
    return 0


@contextmanager
def _ray(config: MakeConfig, folder: Path) -> Iterator[None]:
    """Ray, where a model runs on its workers."""
    if not any(model.workers for model in config.models):
        yield
        return
    import ray

    from search.cluster.config import ClusterConfig
    from search.cluster.connection import start_ray

    started = not ray.is_initialized()
    if started:
        start_ray(ClusterConfig(), folder / "ray.log")
    try:
        yield
    finally:
        if started:
            ray.shutdown()


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A function that shows how many are done: in a bar, or where there is no terminal in a line a minute."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _in_lines(what)
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _in_lines(what: str) -> Callable[[int, int], None]:
    last = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _BETWEEN_LINES:
            last = time.monotonic()
            print(f"{what}: {done:,} of {total:,}", file=sys.stderr, flush=True)

    return show


def _say(lines: Any) -> None:
    for line in lines:
        print(line)
