"""`apportion pool check FILE`: what is in a pool file, and what is wrong with it."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from base.errors import ConfigError
from pools.config import Format, PoolConfig
from pools.formats.columns import Columns
from pools.report import PoolReport
from pools.sources import scan_pool
from pools.stored import on_disk
from pools.types import Pool, Prompt
from search.commands.pool_make import configure_actions

if TYPE_CHECKING:
    from trainers.prompt_format import Rendering

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
    check.add_argument(
        "--columns",
        nargs="+",
        default=[],
        metavar="NAME=COLUMN",
        help="columns that hold what, of an unknown format: prompt=question responses=a,b scores=s_a,s_b, or "
        "prompt=... chosen=... rejected=... (pool.columns of a study)",
    )
    check.add_argument(
        "--score",
        nargs="+",
        default=[],
        metavar="ATTRIBUTE=WEIGHT",
        help="the score is this weighted sum: helpfulness=1 correctness=0.5 (pool.score of a study)",
    )
    check.add_argument("--show", type=int, default=0, metavar="N", help="print the first N examples as read")
    check.add_argument(
        "--model",
        default="",
        help="render prompts by this model's chat template: folder, hub id or embedded:NAME",
    )
    check.add_argument("--seed", type=int, default=0, help="decides which prompts are held out (default 0)")
    check.add_argument("--json", action="store_true", help="print the report as one JSON object")
    configure_actions(actions)


def run(args: argparse.Namespace) -> int:
    """Print the report; 0 where a study could use the pool, else 2."""
    rendering = _rendering(args.model)
    examples, report = _scan(_config(args), args.seed, rendering, args.show)
    if args.json:
        print(json.dumps(report.to_dict(), ensure_ascii=False))
    else:
        print("\n".join([*report.lines(), *examples]))
        print(f"not usable: {report.error.splitlines()[0]}" if report.error else "usable")
        if report.error and report.format == "prompts" and not report.prompts_alone:
            print(
                f"prompts alone? apportion pool make {shlex.quote(args.path)} --output pool.jsonl goes on; "
                "--judge.reward.function or --judge.kind says who scores"
            )
    return 2 if report.error else 0


def _config(args: argparse.Namespace) -> PoolConfig:
    names = PoolConfig.model_fields.keys() & vars(args).keys() - {"columns", "score"}
    columns = {name: _listed(text) for name, text in _named(args.columns, "--columns").items()}
    given = {name: getattr(args, name) for name in names}
    try:
        return PoolConfig(columns=Columns(**columns), score=_named(args.score, "--score"), **given)
    except ValidationError as error:
        first = error.errors()[0]
        field = "--" + "-".join(map(str, first["loc"])).replace("_", "-") if first["loc"] else "options"
        raise ConfigError(f"{field}: {first['msg']}, not {first['input']!r}") from None


def _named(texts: Sequence[str], option: str) -> dict[str, Any]:
    """`name=value` texts as a mapping."""
    parts = [text.partition("=") for text in texts]
    if wrong := [
        text for text, (name, mark, value) in zip(texts, parts, strict=True) if not (name and value)
    ]:
        raise ConfigError(f"{option} {wrong[0]}: NAME=VALUE was expected")
    return {name: value for name, _, value in parts}


def _listed(text: str) -> str | tuple[str, ...]:
    return tuple(text.split(",")) if "," in text else text


def _rendering(model: str) -> Rendering | None:
    """How the model takes prompts; None where none is named."""
    if not model:
        return None
    from trainers.models import load_light_tokenizer, resolve_model
    from trainers.prompt_format import Rendering

    return Rendering(load_light_tokenizer(resolve_model(model)))


def _examples(pool: Pool, count: int, rendering: Rendering | None) -> list[str]:
    """The first examples as they are trained on, the best response first."""
    lines = []
    for number, example in enumerate(islice(pool.train, count), start=1):
        lines += ["", f"--- example {number}", *_prompt_lines(example.prompt, rendering)]
        for response in sorted(example.responses, key=lambda each: -each.score):
            source = f", {response.source}" if response.source else ""
            lines += [f"response (score {response.score:.4g}{source}):", response.text]
        if example.compared is not None:
            lines.append(f"compared (better, worse), in the order of the file: {list(example.compared)}")
    return lines


def _prompt_lines(prompt: Prompt, rendering: Rendering | None) -> list[str]:
    if rendering is not None:
        return ["prompt, as the model reads it:", rendering.text(prompt)]
    if isinstance(prompt.content, str):
        return ["prompt:", prompt.content]
    return [f"{turn.role}: {turn.content}" for turn in prompt.content]


def _scan(
    config: PoolConfig, seed: int, rendering: Rendering | None, shown: int
) -> tuple[list[str], PoolReport]:
    """The first examples in lines, and the report."""
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
            refusal = rendering.refusal if rendering else None
            pool, report = scan_pool(
                config, seed=seed, progress=show, store=Path(own) / "pool", refusal=refusal
            )
            return _examples(pool, shown, rendering), report
