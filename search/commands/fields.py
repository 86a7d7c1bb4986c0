"""Fields of the configuration on the command line: one `--section.field VALUE` for each, all in one way.

argparse and pydantic rather than pydantic-settings or tyro: the first answers a wrong value with a traceback
under ninety lines of usage, the second takes a second or more to read the flags and no `2,3,4`; neither
applies flags over a YAML file and then names every wrong field at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from base.settings import fields_of


def add_fields(
    parser: argparse.ArgumentParser,
    model: type[BaseModel],
    *,
    title: str,
    prefix: str = "",
    wanted: Callable[[str], bool] = lambda name: True,
) -> None:
    """Declare every wanted field of `model`, a group a section.

    Fields of no section stand under `title`, and are written as other options are: with hyphens.
    """
    groups: dict[str, Any] = {}
    for name, info in fields_of(model, prefix):
        if wanted(name):
            section = name.rpartition(".")[0] or title
            group = groups.setdefault(section, parser.add_argument_group(section))
            flag = name if "." in name else name.replace("_", "-")
            group.add_argument(f"--{flag}", dest=name, metavar="VALUE", default=None, help=_help(info))


def given(args: argparse.Namespace, model: type[BaseModel], *, prefix: str = "") -> dict[str, str]:
    """The fields of `model` that were given, by their names without the prefix, as they were typed."""
    named = ((name, getattr(args, name, None)) for name, _ in fields_of(model, prefix))
    return {name.removeprefix(prefix): value for name, value in named if value is not None}


def _help(info: Any) -> str:
    default = info.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return f"{info.description} [required]".replace("%", "%%")
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    return f"{info.description} [default: {'none' if shown in ('', None) else shown}]".replace("%", "%%")
