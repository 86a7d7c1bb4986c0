"""Options and helpers that the commands on prompts share: which files, which pool, which tokenizer."""

from __future__ import annotations

import argparse
import glob
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TextIO, get_args

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from base.errors import PoolError
from pools.config import Format, PoolConfig
from pools.prompts import PromptFiles, Tally, stream_prompts
from pools.selection import Selection
from pools.sources import load_pool
from pools.types import Pool, Prompt
from trainers.models import load_light_tokenizer, resolve_model

TOKENIZER = "embedded:smollm2-135m"


def add_tokenizer_option(parser: argparse.ArgumentParser) -> None:
    """Declare `--tokenizer`."""
    parser.add_argument(
        "--tokenizer",
        default=TOKENIZER,
        metavar="MODEL",
        help=f"model (folder or hub id) whose tokens are counted; two do not compare (default {TOKENIZER})",
    )


def add_selection_options(parser: argparse.ArgumentParser, *, default: Selection) -> None:
    """Declare which of the pool's prompts are chosen, and in which order."""
    parser.add_argument(
        "--selection",
        choices=get_args(Selection),
        default=default,
        help="diverse: most new bigrams first, mean length held; narrow: fewest; random: as a study draws "
        f"(default {default})",
    )
    parser.add_argument(
        "--strength", type=float, default=1.0, help="share of greedy picks, 0 to 1 (default 1)"
    )


def add_format_options(parser: argparse.ArgumentParser) -> None:
    """Declare how rows are read."""
    parser.add_argument("--format", choices=get_args(Format), default="auto", help="shape of the rows")
    parser.add_argument("--split", default="train", help="which split of a Hugging Face data set")
    parser.add_argument("--subset", default="", help="which configuration of a Hugging Face data set")


def add_pool_options(parser: argparse.ArgumentParser) -> None:
    """Declare the pool that a command chooses from, and where its rows go."""
    parser.add_argument("pool", metavar="POOL", help="file, folder, hub id or demo; responses are not needed")
    add_format_options(parser)
    parser.add_argument(
        "--held-out-path", default="", metavar="FILE", help="pool file whose prompts are held out"
    )
    parser.add_argument("--seed", type=int, default=0, help="decides all that is drawn (default 0)")
    parser.add_argument("--output", metavar="FILE", help="write JSON lines there (default: standard output)")
    parser.add_argument("--overwrite", action="store_true", help="replace a file that --output names")


def pool_of(args: argparse.Namespace) -> Pool:
    """The pool that the options name, prompts without responses included."""
    config = PoolConfig(
        path=args.pool,
        format=args.format,
        split=args.split,
        subset=args.subset,
        held_out_path=args.held_out_path,
        min_responses=0,
    )
    return load_pool(config, seed=args.seed)[0]


def content_of(prompt: Prompt) -> str | list[dict[str, str]]:
    """The prompt as JSON lines hold it: a text, or a list of turns."""
    return prompt.content if isinstance(prompt.content, str) else [vars(turn) for turn in prompt.content]


def check_output(args: argparse.Namespace) -> None:
    """Raise PoolError where `--output` would replace a file that is read, or one that is there already."""
    if args.output is None:
        return
    target = Path(args.output)
    inputs = filter(None, (args.pool, args.held_out_path))
    if any(_same_file(target, Path(each).expanduser()) for each in inputs):
        raise PoolError(f"--output {args.output} is the pool that is read: give another file")
    if target.is_file() and not args.overwrite:
        raise PoolError(f"--output {args.output} exists: give another file, or --overwrite to replace it")


def _same_file(one: Path, two: Path) -> bool:
    """Whether these are one file, or the second is a folder or a pattern that the first lies in."""
    if glob.has_magic(str(two)) and not two.exists():
        return one.exists() and any(one.samefile(each) for each in glob.glob(str(two), recursive=True))
    if not one.exists() or not two.exists():
        return False
    return one.samefile(two) or (two.is_dir() and one.resolve().is_relative_to(two.resolve()))


@contextmanager
def opened(path: str | None) -> Iterator[TextIO]:
    """The file to write to, standard output for None; PoolError where it cannot be written.

    A file is there whole when the block ends well, and as it was before otherwise.
    """
    if path is None:
        yield sys.stdout
        return
    target = Path(path)
    partial = (
        target if target.exists() and not target.is_file() else target.with_name(f".{target.name}.partial")
    )
    try:
        with partial.open("w", encoding="utf-8") as out:
            yield out
        if partial is not target:
            os.replace(partial, target)
    except OSError as error:
        raise PoolError(f"{path}: {error.strerror or error}") from None
    finally:
        if partial is not target:
            partial.unlink(missing_ok=True)


def tokenizer_of(name: str) -> Any:
    """The tokenizer of a model, unpacked first where it is an embedded one."""
    return load_light_tokenizer(resolve_model(name))


def texts(files: PromptFiles, tally: Tally, *, keep_repeats: bool, quiet: bool) -> Iterator[str]:
    """The texts of all prompts, with a progress bar on standard error where that is a terminal."""
    with bar(quiet) as progress:
        for prompt in stream_prompts(files, tally, keep_repeats=keep_repeats, progress=progress):
            yield prompt.text


def reader_of(files: PromptFiles) -> Any:
    """A picklable function from one source to the texts of its prompts, repeats included."""
    return partial(_read_source, files)


def _read_source(files: PromptFiles, source: str) -> Iterator[str]:
    one = PromptFiles(
        paths=[source], format=files.format, field=files.field, split=files.split, subset=files.subset
    )
    return (prompt.text for prompt in stream_prompts(one, Tally(), keep_repeats=True))


@contextmanager
def bar(quiet: bool = False) -> Iterator[Callable[[str, float], None]]:
    """A function that shows what is being done and which share is; silent where there is no terminal."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("reading", total=1.0)
        yield lambda label, share: bar.update(task, completed=share, description=label)
