"""CSV: one row a response, for a spreadsheet; the rater fills in the column `rank` or `rating`."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from annotation.labels.rating import Rating, ranks_by_place
from annotation.labels.tasks import Kind, Task, by_rater, shown_prompt
from base.files import write_whole

UNABLE = "x"  # in any row of a task: it could not be judged
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet runs a cell that begins with one of these
_COLUMNS = ("task", "number", "prompt", "response")


def write(folder: Path, tasks: Sequence[Task], kind: Kind) -> None:
    """Write a file for each rater, in UTF-8 with the mark by which spreadsheets know it."""
    measure = "rating" if kind == "rating" else "rank"
    for rater, own in by_rater(tasks).items():
        text = io.StringIO()
        out = csv.writer(text)
        out.writerow([*_COLUMNS, measure, "note", "seconds", "rater"])
        for task in own:
            for number, response in enumerate(task.shown, 1):
                texts = (_inert(shown_prompt(task.prompt)), _inert(response.text))
                out.writerow([task.id, number, *texts, "", "", "", rater])
        write_whole(folder / f"{rater}.csv", text.getvalue().encode("utf-8-sig"))


def _inert(text: str) -> str:
    """The text with an apostrophe in front where a spreadsheet would take it for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def read(text: str) -> Iterator[Rating]:
    """The ratings in a filled-in file, whose cells may be parted by commas, semicolons or tabs.

    A task whose cells are all empty is not rated yet. A response that comes again begins another rating.
    Raises ValueError, KeyError or TypeError where cells are not as written.
    """
    csv.field_size_limit(2**31 - 1)
    head = text.partition("\n")[0]
    parted_by = max(",;\t", key=head.count)
    groups: dict[tuple[str, str], list[dict[int, Mapping[str, str]]]] = {}
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=parted_by)
    for number, row in enumerate(rows, 2):
        row = {name: (value or "").strip() for name, value in row.items() if name is not None}
        again = groups.setdefault((row.get("rater", ""), row["task"]), [{}])
        index = int(row["number"]) - 1
        if index in again[-1]:
            again.append({})
        again[-1][index] = {**row, "row": str(number)}
    for (rater, task), ratings in groups.items():
        for rating in ratings:
            yield from _rating(rater, task, rating)


def _rating(rater: str, task: str, rows: Mapping[int, Mapping[str, str]]) -> Iterator[Rating]:
    measure = "rank" if "rank" in next(iter(rows.values())) else "rating"
    cells = {index: row[measure] for index, row in rows.items() if row[measure]}
    if not cells:
        return
    values: dict[int, float] = {}
    if UNABLE not in {cell.casefold() for cell in cells.values()}:
        values = {index: float(cell.replace(",", ".")) for index, cell in cells.items()}
    seconds = [row["seconds"] for row in rows.values() if row.get("seconds")]
    yield Rating(
        task,
        ranks_by_place(values) if measure == "rank" else values,
        "rank" if measure == "rank" else "rating",
        rater=rater or None,
        seconds=float(seconds[0].replace(",", ".")) if seconds else None,
        note=" ".join(row["note"] for row in rows.values() if row.get("note")),
        location=f"row {next(iter(rows.values()))['row']}",
    )
