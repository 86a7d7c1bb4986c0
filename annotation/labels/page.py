"""An HTML page for each rater that needs no network: tasks inside, answers kept in the browser, JSON out.

Texts are data: they travel as JSON that cannot end its element, and reach the page by `textContent` alone.
The policy in the page's head allows its own script and style by their digests, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from annotation.labels.rating import Rating, ranks_by_place
from annotation.labels.tasks import Kind, Task, by_rater
from annotation.sampling.sampler import messages_of
from base.errors import PoolError
from base.files import write_whole

FORMAT = "apportion-labels"
HERE = Path(__file__).parent


def write(folder: Path, tasks: Sequence[Task], kind: Kind) -> None:
    """Write a page for each rater; PoolError for ratings, which the page does not ask for."""
    if kind == "rating":
        raise PoolError("--to page asks for ranks: give --kind ranking or pairwise, or another tool")
    for rater, own in by_rater(tasks).items():
        write_whole(folder / f"{rater}.html", page(rater, own))


def page(rater: str, tasks: Sequence[Task]) -> str:
    """The page for one rater's tasks."""
    data = {
        "rater": rater,
        # Another export has other ids, and begins with nothing answered.
        "export": hashlib.sha256("".join(task.id for task in tasks).encode()).hexdigest()[:16],
        "tasks": [
            {
                "id": task.id,
                "prompt": messages_of(task.prompt),
                "responses": [response.text for response in task.shown],
            }
            for task in tasks
        ],
    }
    style, script = _text("page.css"), _text("page.js")
    policy = (
        f"default-src 'none'; script-src {_digest(script)}; style-src {_digest(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {
        "{{policy}}": policy,
        "{{rater}}": escape(rater),
        "{{style}}": style,
        "{{script}}": script,
        "{{data}}": json.dumps(data, ensure_ascii=True).replace("<", "\\u003c"),
    }
    head, *rest = _text("page.html").split("{{")  # in one pass: what texts hold is no placeholder
    filled = [part.split("}}", 1) for part in rest]
    return head + "".join(parts[f"{{{{{name}}}}}"] + after for name, after in filled)


def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def is_export(value: Mapping[str, Any]) -> bool:
    """Whether this is what the page exports."""
    return value.get("format") == FORMAT


def read(value: Mapping[str, Any]) -> Iterator[Rating]:
    """The ratings in the page's JSON; KeyError, TypeError or ValueError where it is not as written."""
    for number, each in enumerate(value["ratings"], 1):
        ranks = {index: float(rank) for index, rank in enumerate(each["ranks"]) if rank is not None}
        yield Rating(
            str(each["task"]),
            {} if each.get("cannot_judge") else ranks_by_place(ranks),
            rater=str(value["rater"]),
            seconds=float(each["seconds"]),
            at=str(each.get("at", "")),
            note=str(each.get("note", "")),
            location=f"rating {number}",
        )
