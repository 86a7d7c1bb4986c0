"""Argilla 2: records and settings as files, in the shape that its SDK reads and writes as JSON.

`rg.Settings.from_json` reads the settings, `dataset.records.from_json` the records, and
`dataset.records.to_json` writes what comes back; flattened rows (`NAME.responses`) are read too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from annotation.labels.rating import CANNOT_JUDGE, Rating, ranks_by_place
from annotation.labels.tasks import (
    HIGHEST,
    LOWEST,
    Kind,
    Task,
    by_rater,
    name_of,
    place_of,
    shown_prompt,
)
from base.errors import PoolError
from base.files import write_whole

SETTINGS = "settings.json"
_TIE = "tie"
_DONE = (None, "submitted", "completed")


def write(folder: Path, tasks: Sequence[Task], kind: Kind) -> None:
    """Write the data set's settings, and a file of records for each rater.

    PoolError for a rater whose file would have the settings' name.
    """
    if any(f"{task.rater.casefold()}.json" == SETTINGS for task in tasks):
        raise PoolError(f"--raters: {SETTINGS} is the name of another file of this export")
    most = max(len(task.shown) for task in tasks)
    write_whole(folder / SETTINGS, json.dumps(settings(kind, most), ensure_ascii=False, indent=1))
    for rater, own in by_rater(tasks).items():
        rows = [_record(task) for task in own]
        write_whole(folder / f"{rater}.json", json.dumps(rows, ensure_ascii=False, indent=1))


def _record(task: Task) -> dict[str, Any]:
    texts = {name_of(index): response.text for index, response in enumerate(task.shown)}
    return {
        "id": task.id,
        "fields": {"prompt": shown_prompt(task.prompt), **texts},
        "metadata": {"rater": task.rater},
        "suggestions": {},
        "responses": {},
        "vectors": {},
        "status": "pending",
    }


def settings(kind: Kind, responses: int) -> dict[str, Any]:
    """Fields and questions of the data set."""
    names = [name_of(index) for index in range(responses)]
    fields = [
        {"name": name, "title": name.replace("_", " ").capitalize(), "required": True,
         "settings": {"type": "text", "use_markdown": False}}
        for name in ("prompt", *names)
    ]  # fmt: skip
    return {
        "guidelines": None,
        "allow_extra_metadata": True,
        "fields": fields,
        "questions": [
            *_questions(kind, names),
            _question("note", "Note", {"type": "text", "use_markdown": False}, required=False),
        ],
        "metadata": [],
        "vectors": [],
    }


def _questions(kind: Kind, names: Sequence[str]) -> list[dict[str, Any]]:
    verdict = _question("verdict", "Or", _labels([CANNOT_JUDGE]), required=False)
    if kind == "pairwise":
        return [_question("better", "Which is better?", _labels([*names, _TIE, CANNOT_JUDGE]), required=True)]
    if kind == "rating":
        options = [{"value": value} for value in range(LOWEST, HIGHEST + 1)]
        asked = {"type": "rating", "options": options}
        numbers = range(1, len(names) + 1)
        rated = [_question(f"rating_{n}", f"Response {n}", asked, required=False) for n in numbers]
        return [*rated, verdict]
    ranking = {"type": "ranking", "options": _options(names)}
    return [_question("ranking", "Rank the responses, the best first", ranking, required=False), verdict]


def _labels(names: Sequence[str]) -> dict[str, Any]:
    return {"type": "label_selection", "options": _options(names), "visible_options": None}


def _options(names: Sequence[str]) -> list[dict[str, Any]]:
    return [{"value": name, "text": name, "description": None} for name in names]


def _question(name: str, title: str, asked: Mapping[str, Any], *, required: bool) -> dict[str, Any]:
    return {"name": name, "title": title, "description": None, "required": required, "settings": dict(asked)}


def is_export(row: Mapping[str, Any]) -> bool:
    """Whether a row is one of Argilla's records, flattened or not."""
    return ("fields" in row and "responses" in row) or any(name.endswith(".responses") for name in row)


def read(rows: Sequence[Mapping[str, Any]]) -> Iterator[Rating]:
    """The ratings in an export, one for each person and record; drafts are left out."""
    for number, row in enumerate(rows, 1):
        for person, answers in _by_person(row).items():
            states = {answer.get("status") for answer in answers.values()}
            if "discarded" in states:
                answers = {"verdict": {"value": CANNOT_JUDGE}}
            elif not states <= set(_DONE):
                continue
            values, measure = _values({name: answer["value"] for name, answer in answers.items()})
            note = str(answers.get("note", {}).get("value") or "")
            yield Rating(str(row["id"]), values, measure, rater=person, note=note, location=f"row {number}")


def _by_person(row: Mapping[str, Any]) -> dict[str | None, dict[str, Mapping[str, Any]]]:
    """{person: {question: {value, status}}}."""
    found: dict[str | None, dict[str, Mapping[str, Any]]] = {}
    for question, answers in _questions_of(row):
        for answer in answers:
            person = answer.get("user_id")
            found.setdefault(None if person is None else str(person), {})[question] = answer
    return found


def _questions_of(row: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[Mapping[str, Any]]]]:
    if isinstance(row.get("responses"), Mapping):
        yield from row["responses"].items()
        return
    for name, values in row.items():
        if name.endswith(".responses") and values:
            people = row.get(f"{name}.users") or [None] * len(values)
            states = row.get(f"{name}.status") or [None] * len(values)
            rows = zip(values, people, states, strict=True)
            yield (
                name.removesuffix(".responses"),
                [{"value": value, "user_id": who, "status": state} for value, who, state in rows],
            )


def _values(answers: Mapping[str, Any]) -> tuple[dict[int, float], Any]:
    """The values by index, and what they measure."""
    verdict = answers.get("better", answers.get("verdict"))
    if verdict == CANNOT_JUDGE:
        return {}, "rank"
    if verdict is not None:
        ranks = {0: 1.0, 1: 1.0} if verdict == _TIE else {0: 2.0, 1: 2.0, place_of(verdict): 1.0}
        return ranks, "rank"
    if answers.get("ranking"):
        return _ranks(answers["ranking"]), "rank"
    rated = {name: value for name, value in answers.items() if name.startswith("rating_")}
    return {place_of(name): float(value) for name, value in rated.items()}, "rating"


def _ranks(value: Sequence[Any]) -> dict[int, float]:
    """Ranks by index: names in order, or names with ranks, which may tie."""
    if all(isinstance(each, str) for each in value):
        return {place_of(name): float(rank) for rank, name in enumerate(value, 1)}
    return ranks_by_place({place_of(each["value"]): float(each["rank"]) for each in value})
