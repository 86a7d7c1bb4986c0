"""`apportion pool check FILE`: what is in a pool file, and what is wrong with it."""

from __future__ import annotations

import argparse
import json
from typing import get_args

from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from pools.config import Format, PoolConfig
from pools.errors import ConfigError
from pools.report import PoolReport
from pools.sources import scan_pool


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare `pool check` and its options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="read a pool through, and report its flaws and its shape")
    check.add_argument("path", metavar="FILE", help=_help("path"))
    check.add_argument("--format", choices=get_args(Format), default="auto", help=_help("format"))
    check.add_argument("--on-bad-row", choices=("drop", "refuse"), default="drop", help=_help("on_bad_row"))
    check.add_argument("--min-responses", type=int, default=1, metavar="K", help=_help("min_responses"))
    check.add_argument("--held-out-prompts", type=int, metavar="N", help=_help("held_out_prompts"))
    check.add_argument("--held-out-path", default="", metavar="FILE", help=_help("held_out_path"))
    check.add_argument("--held-out-split", default="", metavar="SPLIT", help=_help("held_out_split"))
    check.add_argument("--split", default="train", help=_help("split"))
    check.add_argument("--subset", default="", help=_help("subset"))
    check.add_argument("--seed", type=int, default=0, help="decides which prompts are held out (default 0)")
    check.add_argument("--json", action="store_true", help="print the report as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Print the report; 0 where a study could use the pool, else 2."""
    report = _scan(_config(args), args.seed)
    if args.json:
        print(json.dumps(report.to_dict(), ensure_ascii=False))
    else:
        print("\n".join(report.lines()))
        print(f"not usable: {report.error.splitlines()[0]}" if report.error else "usable")
    return 2 if report.error else 0


def _help(field: str) -> str:
    return PoolConfig.model_fields[field].description or ""


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

        return scan_pool(config, seed=seed, progress=show)[1]
