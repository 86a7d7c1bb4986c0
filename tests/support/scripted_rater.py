"""A rater who fills in what `label export` wrote, in the shape in which each tool gives it back."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
# (texts in the order shown, rater) -> ranks from 1, equal for ties, or None for "cannot judge"
Judge = Callable[[Sequence[str], str], Sequence[int] | None]

CANNOT = "cannot judge"


def by_score(scores: Mapping[str, float]) -> Judge:
    """A judge who ranks texts by these scores."""

    def judge(texts: Sequence[str], rater: str) -> list[int]:
        levels = sorted({scores[text] for text in texts}, reverse=True)
        return [1 + levels.index(scores[text]) for text in texts]

    return judge


def answer(folder: Path, tool: str, judge: Judge, *, seconds: float = 60) -> list[Path]:
    """Answer every task in the folder's files; returns the files with the answers, which lie beside them."""
    suffix = {"csv": "csv", "page": "html"}.get(tool.partition(":")[0], "json")
    files = sorted(folder.glob(f"rater*.{suffix}"))
    found = []
    for path in files:
        if suffix == "html":
            data = json.loads(page_data(path))
            content = json.dumps(_page(data, judge, seconds))
        elif suffix == "csv":
            content = _csv(path.read_text("utf-8-sig"), judge, seconds)
        else:
            content = json.dumps(_FILLED[tool](json.loads(path.read_text()), judge, seconds))
        found.append(folder / f"answered-{path.stem}.{'csv' if suffix == 'csv' else 'json'}")
        found[-1].write_text(content)
    return found


def page_data(path: Path) -> str:
    """The JSON inside a page."""
    return path.read_text().partition('id="data">')[2].partition("</script>")[0]


def _page(data: Row, judge: Judge, seconds: float) -> Row:
    ratings = []
    for task in data["tasks"]:
        ranks = judge(task["responses"], data["rater"])
        row = {"task": task["id"], "ranks": ranks or [None] * len(task["responses"]), "seconds": seconds}
        ratings.append({**row, "cannot_judge": ranks is None, "note": "", "at": "2026-01-01T00:00:00Z"})
    return {"format": "apportion-labels", "version": 1, "rater": data["rater"], "ratings": ratings}


def _csv(text: str, judge: Judge, seconds: float) -> str:
    rows = list(csv.DictReader(io.StringIO(text)))
    tasks: dict[str, list[Row]] = {}
    for row in rows:
        tasks.setdefault(row["task"], []).append(row)
    for own in tasks.values():
        # What a spreadsheet shows: an apostrophe in front of a formula is not part of the text.
        ranks = judge([_seen(row["response"]) for row in own], own[0]["rater"])
        for place, row in enumerate(own):
            row["seconds"] = seconds
            if "rank" in row:
                row["rank"] = "x" if ranks is None else ranks[place]
            else:
                row["rating"] = "x" if ranks is None else 6 - ranks[place]
    out = io.StringIO()
    writer = csv.DictWriter(out, rows[0].keys(), delimiter=";")  # as a spreadsheet in Europe saves it
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _seen(text: str) -> str:
    return text[1:] if text[:1] == "'" and text[1:2] in tuple("=+-@\t\r") else text


def _label_studio(rows: list[Row], judge: Judge, seconds: float) -> list[Row]:
    filled = []
    for number, row in enumerate(rows, 1):
        data = row["data"]
        ranks = judge(texts_shown(data), data["rater"])
        result = [{"from_name": name, "to_name": "x", "type": kind, "value": value}
                  for name, kind, value in results(data, ranks)]  # fmt: skip
        made = {"id": number, "completed_by": {"email": data["rater"]}, "result": result,
                "was_cancelled": False, "lead_time": seconds, "updated_at": "2026-01-01"}  # fmt: skip
        filled.append({"id": number, "data": data, "annotations": [made], "predictions": []})
    return filled


def _json_min(rows: list[Row], judge: Judge, seconds: float) -> list[Row]:
    filled = []
    for number, row in enumerate(rows, 1):
        data = row["data"]
        answers: Row = {}
        for name, kind, value in results(data, judge(texts_shown(data), data["rater"])):
            answers[name] = value["choices"][0] if kind == "choices" else [value]
        about = {"id": number, "annotator": data["rater"], "annotation_id": number, "lead_time": seconds}
        filled.append({**data, **answers, **about, "updated_at": "2026-01-01"})
    return filled


def texts_shown(data: Row) -> list[str]:
    """The responses of a task of Label Studio, in the order shown."""
    if "items" in data:
        return [item["body"] for item in data["items"]]
    if "left" in data:
        return [data["left"], data["right"]]
    return [data[f"response_{n}"] for n in range(1, 100) if f"response_{n}" in data]


def results(data: Row, ranks: Sequence[int] | None) -> list[tuple[str, str, Row]]:
    """(name of the control, type, value) of an annotation of Label Studio with these ranks."""
    if ranks is None:
        return [("verdict", "choices", {"choices": [CANNOT]})]
    if "items" in data:
        buckets: dict[str, list[str]] = {f"rank_{n}": [] for n in range(1, len(ranks) + 1)}
        for item, rank in zip(data["items"], ranks, strict=True):
            buckets[f"rank_{rank}"].append(item["id"])
        return [("ranking", "ranker", {"ranker": {"_": [], **buckets}})]
    if "left" in data:
        if ranks[0] == ranks[1]:
            return [("verdict", "choices", {"choices": ["tie"]})]
        return [("better", "pairwise", {"selected": "left" if ranks[0] < ranks[1] else "right"})]
    return [(f"rating_{n}", "rating", {"rating": 6 - rank}) for n, rank in enumerate(ranks, 1)]


def _argilla_value(row: Row, judge: Judge) -> dict[str, Any]:
    """{question: value} of one record; which questions there are is told by the settings' names alone."""
    fields = row["fields"]
    names = [name for name in fields if name != "prompt"]
    ranks = judge([fields[name] for name in names], row["metadata"]["rater"])
    if ranks is None:
        return {"verdict": CANNOT}
    return {"ranking": [{"value": name, "rank": rank} for name, rank in zip(names, ranks, strict=True)]}


def _argilla(rows: list[Row], judge: Judge, seconds: float) -> list[Row]:
    filled = []
    for row in rows:
        who = {"user_id": row["metadata"]["rater"], "status": "submitted"}
        responses = {name: [{"value": value, **who}] for name, value in _argilla_value(row, judge).items()}
        filled.append({**row, "responses": responses, "status": "completed"})
    return filled


def _argilla_flat(rows: list[Row], judge: Judge, seconds: float) -> list[Row]:
    filled = []
    for row in rows:
        flat: Row = {"id": row["id"], "status": "completed", **row["fields"]}
        for name, value in _argilla_value(row, judge).items():
            flat |= {f"{name}.responses": [value], f"{name}.responses.users": [row["metadata"]["rater"]]}
            flat |= {f"{name}.responses.status": ["submitted"]}
        filled.append(flat)
    return filled


_FILLED = {
    "label-studio": _label_studio,
    "label-studio:min": _json_min,
    "argilla": _argilla,
    "argilla:flat": _argilla_flat,
}
