"""The tools that labels go out to and come back from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from annotation.labels import argilla, label_studio, page, table
from annotation.labels.key import write_key
from annotation.labels.rating import Rating
from annotation.labels.tasks import Kind, Task
from base.errors import PoolError
from base.files import whole_folder

Write = Callable[[Path, Sequence[Task], Kind], None]
TOOLS: dict[str, Write] = {
    "label-studio": label_studio.write,
    "argilla": argilla.write,
    "csv": table.write,
    "page": page.write,
}


def write_tasks(folder: Path, tool: str, tasks: Sequence[Task], kind: Kind, about: Mapping[str, Any]) -> None:
    """Write the tasks for one of `TOOLS`, and the key beside them; the folder appears whole or not at all."""
    with whole_folder(folder) as partial:
        TOOLS[tool](partial, tasks, kind)
        write_key(partial, {**about, "to": tool}, tasks, kind)


def read_ratings(path: Path) -> list[Rating]:
    """The ratings in a file that any of the tools wrote, told by its content.

    PoolError where it cannot be read, or is of no tool's shape.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise PoolError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    try:
        return [replace(rating, location=f"{path.name}, {rating.location}") for rating in _read(text)]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise PoolError(
            f"{path} is of none of the shapes that ratings come in ({error!r}): Label Studio's JSON or "
            "JSON-MIN, Argilla's records, the CSV or the page's JSON of `label export`"
        ) from None


def _read(text: str) -> list[Rating]:
    if not text.lstrip().startswith(("[", "{")):
        return list(table.read(text))
    rows = _rows(text)
    if len(rows) == 1 and page.is_export(rows[0]):
        return list(page.read(rows[0]))
    for tool in (label_studio, argilla):
        if rows and all(map(tool.is_export, rows)):
            return list(tool.read(rows))
    raise ValueError("no rows, or rows of no known shape")


def _rows(text: str) -> list[Mapping[str, Any]]:
    """The objects of an array, of JSON lines, or the one there is."""
    try:
        found = json.loads(text)
    except ValueError:
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    return list(found) if isinstance(found, list) else [found]
