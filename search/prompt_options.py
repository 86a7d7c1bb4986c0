"""Options and helpers that the commands on prompts share: which files, which tokenizer."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, get_args

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pools.config import Format
from pools.prompts import PromptFiles, Tally, stream_prompts
from trainers.models import load_tokenizer, resolve_model

TOKENIZER = "embedded:smollm2-135m"


def add_tokenizer_option(parser: argparse.ArgumentParser) -> None:
    """Declare `--tokenizer`."""
    parser.add_argument(
        "--tokenizer",
        default=TOKENIZER,
        metavar="MODEL",
        help=f"model (folder or hub id) whose tokens are counted; two do not compare (default {TOKENIZER})",
    )


def add_file_options(parser: argparse.ArgumentParser) -> None:
    """Declare how files are read."""
    parser.add_argument("--format", choices=get_args(Format), default="auto", help="shape of the rows")
    parser.add_argument("--field", default="", metavar="COLUMN", help="the column that holds the prompt")
    parser.add_argument("--split", default="train", help="which split of a Hugging Face data set")
    parser.add_argument("--subset", default="", help="which configuration of a Hugging Face data set")


def files_of(args: argparse.Namespace) -> PromptFiles:
    """The files that the options name."""
    return PromptFiles(
        paths=args.paths, format=args.format, field=args.field, split=args.split, subset=args.subset
    )


def tokenizer_of(name: str) -> Any:
    """The tokenizer of a model, unpacked first where it is an embedded one."""
    return load_tokenizer(resolve_model(name))


def texts(files: PromptFiles, tally: Tally, *, keep_repeats: bool, quiet: bool) -> Iterator[str]:
    """The texts of all prompts, with a progress bar on standard error where that is a terminal."""
    with _bar(quiet) as progress:
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
def _bar(quiet: bool) -> Iterator[Any]:
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as bar:
        task = bar.add_task("reading", total=1.0)
        yield lambda label, share: bar.update(task, completed=share, description=label)
