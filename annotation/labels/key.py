"""The side file of an export: who was shown what, in which order, so that an import can undo it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotation.labels.reading_time import words
from annotation.labels.tasks import Kind, Task
from base.errors import PoolError
from base.files import write_whole

KEY = "key.jsonl"


@dataclass(frozen=True)
class Shown:
    """One task: its rater, its prompt (`Prompt.key`) and its responses (`response_id`) in the order shown."""

    task: str
    rater: str
    kind: Kind
    prompt: str
    responses: tuple[str, ...]
    words: int


def response_id(text: str) -> str:
    """A digest that names a response among those of its prompt; white space at its ends is no part of it."""
    return hashlib.sha256(text.strip().encode()).hexdigest()[:16]


def write_key(folder: Path, about: Mapping[str, Any], tasks: Sequence[Task], kind: Kind) -> Path:
    """Write the key of these tasks: one line about the export, then one for each task."""
    lines = [json.dumps({"labels": {**about, "kind": kind}}, ensure_ascii=False)]
    for task in tasks:
        read = words(task.prompt.text) + sum(words(response.text) for response in task.shown)
        row = {"task": task.id, "rater": task.rater, "prompt": task.prompt.key, "words": read}
        row["responses"] = [response_id(response.text) for response in task.shown]
        lines.append(json.dumps(row, ensure_ascii=False))
    path = folder / KEY
    write_whole(path, "".join(f"{line}\n" for line in lines))
    return path


def read_keys(paths: Iterable[Path]) -> dict[str, Shown]:
    """The tasks of these key files by their ids; PoolError where one is missing or is no key."""
    tasks: dict[str, Shown] = {}
    for path in dict.fromkeys(paths):
        tasks |= {shown.task: shown for shown in _read(path)}
    return tasks


def _read(path: Path) -> list[Shown]:
    if not path.is_file():
        raise PoolError(f"{path}: no key; `label export` wrote a {KEY} beside its files: name it with --key")
    try:
        with path.open(encoding="utf-8") as lines:
            head, *rows = map(json.loads, lines)
        kind = head["labels"]["kind"]
        return [
            Shown(r["task"], r["rater"], kind, r["prompt"], tuple(r["responses"]), r["words"]) for r in rows
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise PoolError(f"{path} is no key that `label export` wrote ({error!r})") from None
