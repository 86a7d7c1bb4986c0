"""Label Studio: tasks with a labelling configuration out, its JSON or JSON-MIN back.

Tags and results as https://labelstud.io/tags has them: Ranker with Buckets (one a rank, so that ties are
possible), Pairwise, Rating, Choices and TextArea.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from annotation.labels.rating import CANNOT_JUDGE, Rating, ranks_by_place
from annotation.labels.tasks import HIGHEST, Kind, Task, by_rater, name_of, place_of, shown_prompt
from base.files import write_whole

CONFIG = "labelling_config.xml"
_ASIDE = "_"  # the column of a Ranker whose items are in no bucket
_TIE = "tie"
_SIDES = ("left", "right")
_STYLE = ".htx-ranker-item, .htx-text { white-space: pre-wrap; }"


def write(folder: Path, tasks: Sequence[Task], kind: Kind) -> None:
    """Write the configuration, and a file of tasks for each rater."""
    most = max(len(task.shown) for task in tasks)
    write_whole(folder / CONFIG, labelling_config(kind, most))
    for rater, own in by_rater(tasks).items():
        rows = [{"data": _data(task, kind)} for task in own]
        write_whole(folder / f"{rater}.json", json.dumps(rows, ensure_ascii=False, indent=1))


def _data(task: Task, kind: Kind) -> dict[str, Any]:
    data: dict[str, Any] = {"task": task.id, "rater": task.rater, "prompt": shown_prompt(task.prompt)}
    texts = [response.text for response in task.shown]
    if kind == "pairwise":
        return data | dict(zip(_SIDES, texts, strict=True))
    if kind == "rating":
        return data | {name_of(index): text for index, text in enumerate(texts)}
    items = [{"id": name_of(n), "title": f"Response {n + 1}", "body": text} for n, text in enumerate(texts)]
    return data | {"items": items}


def labelling_config(kind: Kind, responses: int) -> str:
    """The labelling configuration (XML) for tasks with so many responses."""
    judged, choices = {
        "ranking": (_ranking(responses), [CANNOT_JUDGE]),
        "pairwise": (_pairwise(), [_TIE, CANNOT_JUDGE]),
        "rating": (_rating(responses), [CANNOT_JUDGE]),
    }[kind]
    lines = ["<View>", f"  <Style>{_STYLE}</Style>", '  <Text name="prompt_text" value="$prompt"/>', *judged]
    lines.append('  <Choices name="verdict" toName="prompt_text" choice="single" showInline="true">')
    lines += [f"    <Choice value={quoteattr(choice)}/>" for choice in choices]
    lines += ["  </Choices>", '  <TextArea name="note" toName="prompt_text" placeholder="Note" rows="2"/>']
    return "\n".join([*lines, "</View>", ""])


def _ranking(responses: int) -> list[str]:
    titles = ["1 (best)", *map(str, range(2, responses + 1))]
    buckets = [f'    <Bucket name="rank_{n}" title="{title}"/>' for n, title in enumerate(titles, 1)]
    return [
        '  <List name="responses" value="$items" title="Responses"/>',
        '  <Ranker name="ranking" toName="responses">',
        *buckets,
        "  </Ranker>",
    ]


def _pairwise() -> list[str]:
    texts = [f'  <Text name="{side}" value="${side}"/>' for side in _SIDES]
    return ['  <Pairwise name="better" toName="left,right"/>', *texts]


def _rating(responses: int) -> list[str]:
    lines = []
    for index in range(responses):
        text, rating = name_of(index), f"rating_{index + 1}"
        lines.append(f'  <Header value="Response {index + 1}"/>')
        lines.append(f'  <Text name="{text}" value="${text}"/>')
        lines.append(f'  <Rating name="{rating}" toName="{text}" maxRating="{HIGHEST}"/>')
    return lines


def is_export(row: Mapping[str, Any]) -> bool:
    """Whether a row is one of Label Studio's JSON or JSON-MIN."""
    return ("annotations" in row and "data" in row) or "annotation_id" in row


def read(rows: Sequence[Mapping[str, Any]]) -> Iterator[Rating]:
    """The ratings in an export; those whose shape is not ours raise ValueError, KeyError or TypeError."""
    for number, row in enumerate(rows, 1):
        if "annotation_id" in row:
            yield _rating_of(str(row["task"]), row, row, row.get("annotator"), f"row {number}")
            continue
        for made in row["annotations"]:
            answers = {each["from_name"]: each["value"] for each in made["result"]}
            if made.get("was_cancelled"):
                answers = {"verdict": CANNOT_JUDGE}
            task, person = str(row["data"]["task"]), made.get("completed_by")
            yield _rating_of(task, answers, made, person, f"row {number}")


def _rating_of(
    task: str, answers: Mapping[str, Any], about: Mapping[str, Any], person: object, location: str
) -> Rating:
    values, measure = _values({name: _single(value) for name, value in answers.items()})
    seconds = about.get("lead_time")
    return Rating(
        task,
        values,
        measure,
        rater=_person(person),
        seconds=float(seconds) if seconds is not None else None,
        at=str(about.get("updated_at") or about.get("created_at") or ""),
        note=_text(_single(answers.get("note")), "text"),
        location=location,
    )


def _values(answers: Mapping[str, Any]) -> tuple[dict[int, float], Any]:
    """The values by index, and what they measure."""
    verdict = _text(answers.get("verdict"), "choices")
    if verdict == CANNOT_JUDGE:
        return {}, "rank"
    if verdict == _TIE:
        return {0: 1.0, 1: 1.0}, "rank"
    if "better" in answers:
        chosen = _SIDES.index(_text(answers["better"], "selected"))
        return {index: 1.0 if index == chosen else 2.0 for index in (0, 1)}, "rank"
    if "ranking" in answers:
        return _ranks(answers["ranking"]), "rank"
    found = {name: value for name, value in answers.items() if name.startswith("rating_")}
    return {place_of(name): float(_field(value, "rating")) for name, value in found.items()}, "rating"


def _ranks(value: Mapping[str, Any]) -> dict[int, float]:
    """Ranks by place of a Ranker: one bucket a rank, or one list in order where there are no buckets."""
    buckets: Mapping[str, Sequence[str]] = value.get("ranker", value)
    named = {name: items for name, items in buckets.items() if name.startswith("rank_")}
    if named:
        order = {place_of(item): float(name[5:]) for name, items in named.items() for item in items}
    else:
        lists = [items for name, items in buckets.items() if name != _ASIDE]
        order = {place_of(item): float(rank) for rank, item in enumerate(lists[0])} if lists else {}
    return ranks_by_place(order)


def _single(value: Any) -> Any:
    """JSON-MIN keeps a list of values, or the value alone."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _field(value: Any, name: str) -> Any:
    return value[name] if isinstance(value, Mapping) else value


def _text(value: Any, name: str) -> str:
    found = _single(_field(value, name)) if value is not None else ""
    return "\n".join(map(str, found)) if isinstance(found, list) else str(found)


def _person(value: object) -> str | None:
    if isinstance(value, Mapping):
        value = value.get("email") or value.get("id")
    return None if value is None else str(value)
