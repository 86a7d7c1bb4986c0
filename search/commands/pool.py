"""`apportion pool check FILE`: what is in a pool file, and what is wrong with it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from base.errors import ConfigError
from pools.config import Format, PoolConfig
from pools.report import PoolReport
from pools.sources import scan_pool
from pools.stored import on_disk
from search.commands.pool_make import configure_actions

_OPTIONS: dict[str, dict[str, Any]] = {  # fields of PoolConfig, whose defaults and descriptions hold here too
    "format": {"choices": get_args(Format)},
    "split": {},
    "subset": {},
    "held_out_path": {"metavar": "FILE"},
    "held_out_split": {"metavar": "SPLIT"},
    "held_out_prompts": {"type": int, "metavar": "N"},
    "min_responses": {"type": int, "metavar": "K"},
    "on_bad_row": {"choices": ("drop", "refuse")},
    "name": {},
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare `pool check` and its options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="read a pool through, and report its flaws and its shape")
    check.add_argument("path", metavar="FILE", help=PoolConfig.model_fields["path"].description)
    for name, options in _OPTIONS.items():
        field = PoolConfig.model_fields[name]
        default = "none" if field.default in (None, "") else field.default
        check.add_argument(
            f"--{name.replace('_', '-')}",
            default=argparse.SUPPRESS,
            help=f"{field.description} (default {default})",
            **options,
        )
    check.add_argument("--seed", type=int, default=0, help="decides which prompts are held out (default 0)")
    check.add_argument("--json", action="store_true", help="print the report as one JSON object")
    configure_actions(actions)


def run(args: argparse.Namespace) -> int:
    """Print the report; 0 where a study could use the pool, else 2."""
    report = _scan(_config(args), args.seed)
    if args.json:
        print(json.dumps(report.to_dict(), ensure_ascii=False))
    else:
        print("\n".join(report.lines()))
        print(f"not usable: {report.error.splitlines()[0]}" if report.error else "usable")
        if report.error and report.counts.keys() == {"too_few_responses"}:
            print(f"prompts alone? apportion pool make {args.path} --output pool.jsonl goes on")
    return 2 if report.error else 0


def _config(args: argparse.Namespace) -> PoolConfig:
    names = PoolConfig.model_fields.keys() & vars(args).keys()
    try:
        return PoolConfig(**{name: getattr(args, name) for name in names})
    except ValidationError as error:
        first = error.errors()[0]
        field = "--" + "-".join(map(str, first["loc"])).replace("_", "-") if first["loc"] else "options"
        raise ConfigError(f"{field}: {first['msg']}, not {first['input']!r}") from None


def _scan(config: PoolConfig, seed: int) -> PoolReport:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=1.0)

        def show(rows: int, fraction: float) -> None:
            bar.update(task, completed=fraction, description=f"{rows:,} rows")

        with (
            TemporaryDirectory(prefix="apportion-") as own,
            on_disk(Path(own), "set TMPDIR to another folder"),
        ):
            return scan_pool(config, seed=seed, progress=show, store=Path(own) / "pool")[1]
