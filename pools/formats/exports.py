"""What annotation tools write: Argilla's records (both versions) and Label Studio's exports."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import zip_longest

from pools.flaws import RowFlaw, shown
from pools.formats.draft import Answer, Draft, Fields
from pools.formats.lists import falling
from pools.formats.prompt import prompt_of
from pools.formats.rated import RESPONSE
from pools.formats.values import first_of, listed, objects, score_of, text_of, unspelt

_SELECTED = {"left": 0, "right": 1}


def is_argilla(row: Fields) -> bool:
    """Whether a column holds Argilla's ranking of other columns."""
    return ranked_column(row) != ""


def ranked_column(row: Fields) -> str:
    """The column that holds a ranking of other columns, of either version; empty where there is none."""
    for name, value in row.items():
        value = unspelt(value)
        if isinstance(value, list) and any(_order(each, row) for each in value):
            return name
    return ""


def from_argilla(row: Fields) -> Draft:
    """A ranking of fields by each of several people, as they submitted it; ties share a rank."""
    name = ranked_column(row)
    states = _states(row, name)
    rankings = []
    for index, each in enumerate(listed(row[name], name)):
        state = states[index] if index < len(states) else _field(each, "status")
        if state in (None, "submitted", "completed") and (ranks := _order(each, row)):
            rankings.append(ranks)
    if not rankings:
        raise RowFlaw("missing_score", f"{name} holds no ranking that was submitted")
    return ranked(row, rankings)


def ranked(row: Fields, rankings: Iterable[Mapping[str, float]]) -> Draft:
    """The draft of rankings (rank by column, 1 the best): the mean over people of scores from 1 to 0."""
    scores: dict[str, list[float]] = {}
    for ranks in rankings:
        lowest = max(ranks.values())
        for column, rank in ranks.items():
            scores.setdefault(column, []).append(1.0 - (rank - 1) / max(lowest - 1, 1))
    answers = [Answer(text_of(row[name]), sum(all_) / len(all_), name) for name, all_ in scores.items()]
    return Draft(prompt_of(row).content, answers)


def _order(value: object, row: Fields) -> dict[str, float]:
    """Rank by column where this ranks columns of the row; empty where it does not."""
    value = _field(value, "value") if isinstance(value, dict) else value
    if not isinstance(value, list) or len(value) < 2:
        return {}
    if all(isinstance(each, str) for each in value):
        return {name: rank + 1.0 for rank, name in enumerate(value)} if set(value) <= row.keys() else {}
    ranks = {_field(each, "value"): _field(each, "rank") for each in value}
    good = all(isinstance(k, str) and k in row and isinstance(v, int | float) for k, v in ranks.items())
    return {str(k): float(v) for k, v in ranks.items()} if good else {}  # type: ignore[arg-type]


def has_ratings(row: Fields) -> bool:
    """Whether a column holds ratings of the response by several people, of either version."""
    return first_of(row, RESPONSE) is not None and bool(_rated_columns(row))


def from_argilla_rating(row: Fields) -> Draft:
    """A response, and its rating by each of several people, as they submitted it: the mean is its score."""
    names = _rated_columns(row)
    if not names:
        raise RowFlaw("missing_score", "no column holds ratings as people submitted them")
    if len(names) > 1:
        raise RowFlaw(
            "wrong_shape",
            f"{', '.join(names)} are ratings: say which one is the score with pool.columns, such as "
            f"{{prompt: ..., responses: ..., scores: {names[0]}.0.value}}",
        )
    values = [value for value, state in _stated(row, names[0]) if state in (None, "submitted", "completed")]
    asked = prompt_of(row)
    answer = Answer(text_of(first_of(row, RESPONSE)), score_of(values) if values else None)
    return Draft(asked.content, [answer], rows="scores")


def _rated_columns(row: Fields) -> list[str]:
    return [
        name
        for name in row
        if (values := [value for value, _ in _stated(row, name)])
        and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    ]


def _stated(row: Fields, name: str) -> list[tuple[object, object]]:
    """What each person said in a column, and whether it was submitted; empty where it is no such column."""
    values = unspelt(row[name])
    if not isinstance(values, list):
        return []
    if f"{name}.users" in row or f"{name}.status" in row:
        return list(zip_longest(values, _states(row, name)))[: len(values)]
    if all(isinstance(each, dict) and {"user_id", "value"} <= each.keys() for each in values):
        return [(each["value"], each.get("status")) for each in values]
    return []


def _states(row: Fields, name: str) -> list[object]:
    """Whether each person's answer in a column was submitted, where the row says so."""
    states = unspelt(row.get(f"{name}.status"))
    return states if isinstance(states, list) else []


def _field(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def from_label_studio(row: Fields) -> Draft:
    """A task of Label Studio: `pairwise` (left or right) or `ranker` results of its annotations."""
    data = unspelt(row["data"])
    if not isinstance(data, dict):
        raise RowFlaw("wrong_shape", f"data is {shown(data)}: an object was expected")
    results = [
        result
        for annotation in objects(row["annotations"], "annotations")
        if annotation and not annotation.get("was_cancelled")
        for result in objects(annotation.get("result"), "result")
        if result
    ]
    if not results:
        raise RowFlaw("missing_score", "the task has no annotation that was not cancelled")
    kinds = {result.get("type") for result in results}
    if "pairwise" in kinds:
        return _pairwise(data, [result for result in results if result.get("type") == "pairwise"])
    if "ranker" in kinds:
        return _ranker(data, [result for result in results if result.get("type") == "ranker"])
    if "rating" in kinds:
        return _rating(data, [result for result in results if result.get("type") == "rating"])
    known = "pairwise, ranker or rating"
    raise RowFlaw("wrong_shape", f"annotations of type {shown(sorted(map(str, kinds)))}: {known}")


def _pairwise(data: Fields, results: list[Fields]) -> Draft:
    names = str(results[0].get("to_name")).split(",")
    if len(names) != 2 or any(name not in data for name in names):
        raise RowFlaw("wrong_shape", f"to_name is {shown(results[0].get('to_name'))}: two fields of data")
    wins = [0.0, 0.0]
    for result in results:
        selected = _field(result.get("value"), "selected")
        if selected not in _SELECTED:
            raise RowFlaw("wrong_shape", f"selected is {shown(selected)}: left or right was expected")
        wins[_SELECTED[str(selected)]] += 1 / len(results)
    answers = [Answer(text_of(data[name]), win, name) for name, win in zip(names, wins, strict=True)]
    return Draft(prompt_of(data).content, answers, rows="pairs")


def _rating(data: Fields, results: list[Fields]) -> Draft:
    questions = {(result.get("from_name"), result.get("to_name")) for result in results}
    if len(questions) > 1 or (name := str(results[0].get("to_name"))) not in data:
        raise RowFlaw("wrong_shape", f"ratings of {shown(sorted(map(str, questions)))}: one field of data")
    scores = [_field(result.get("value"), "rating") for result in results]
    asked = prompt_of({key: value for key, value in data.items() if key != name})
    return Draft(asked.content, [Answer(text_of(data[name]), score_of(scores))], rows="scores")


def _ranker(data: Fields, results: list[Fields]) -> Draft:
    items = {item.get("id"): item.get("body") for item in objects(data.get("items"), "items") if item}
    scores: dict[object, list[float]] = {}
    for result in results:
        buckets = _field(result.get("value"), "ranker")
        if not isinstance(buckets, dict) or len(buckets) != 1:
            raise RowFlaw("wrong_shape", f"ranker is {shown(buckets)}: one list of ids was expected")
        order = listed(next(iter(buckets.values())), "rank")
        for name, score in falling([each for each in order if each in items]).items():
            scores.setdefault(name, []).append(score)
    answers = [Answer(items[name], sum(all_) / len(all_), name) for name, all_ in scores.items()]
    return Draft(prompt_of({k: v for k, v in data.items() if k != "items"}).content, answers)
