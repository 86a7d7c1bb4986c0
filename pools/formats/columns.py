"""Rows of any other shape, by the columns that a user names."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from base.settings import Settings
from pools.flaws import RowFlaw, shown
from pools.formats.draft import Answer, Draft, Fields
from pools.formats.pairs import pair
from pools.formats.preference import LABEL
from pools.formats.prompt import Asked, as_turns, content_of, with_system
from pools.formats.values import decoded, listed, score_of, text_of, unspelt

Named = str | tuple[str, ...]


class Columns(Settings):
    """Which columns hold what, where no format knows them; a dot goes into a value (`meta.q`, `turns.0`)."""

    prompt: Named = Field("", description="column of the prompt, or several whose texts follow each other")
    system: str = Field("", description="column of the system turn")
    responses: Named = Field("", description="columns of the responses, or one that lists them")
    scores: Named = Field("", description="columns of their scores, or one that lists them")
    chosen: str = Field("", description="column of the better response of a pair")
    rejected: str = Field("", description="column of the worse response of a pair")
    domain: str = Field("", description="column of the domain")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if not any(vars(self).values()):
            return self
        if not self.prompt:
            raise ValueError("prompt is missing: name the column that holds it")
        if bool(self.chosen) != bool(self.rejected):
            raise ValueError("chosen and rejected go together")
        if self.chosen and self.responses:
            raise ValueError("give responses with scores, or chosen with rejected, not both")
        if bool(self.scores) and not self.responses and not self.chosen:
            raise ValueError("scores are of responses: name those too")
        both = (self.responses, self.scores)
        if all(isinstance(each, tuple) for each in both) and len(both[0]) != len(both[1]):
            raise ValueError(f"{len(both[0])} columns of responses, but {len(both[1])} of scores")
        return self

    @property
    def given(self) -> bool:
        """Whether any column is named."""
        return bool(self.prompt)

    def names(self) -> set[str]:
        """All columns that are named, without what follows a dot."""
        named = (each for each in vars(self).values() if each)
        flat = (name for each in named for name in ([each] if isinstance(each, str) else each))
        return {part for name in flat for part in (name, name.partition(".")[0])}


def from_columns(row: Fields, columns: Columns) -> Draft:
    """The draft of a row by the named columns; RowFlaw where one of them is not there."""
    asked = Asked(_prompt(row, columns), ())
    domain = at(row, columns.domain) if columns.domain else ""
    if columns.chosen:
        named = _scores(row, columns.scores, 2) if columns.scores else None
        sides = at(row, columns.chosen), at(row, columns.rejected)
        draft = pair({}, *sides, named or LABEL, (columns.chosen, columns.rejected), asked)
        return Draft(draft.prompt, draft.answers, domain, rows="scores" if named else "pairs")
    if not columns.responses:
        return Draft(asked.content, (), domain)
    texts = _values(row, columns.responses)
    scores = _values(row, columns.scores) if columns.scores else [None] * len(texts)
    if len(texts) != len(scores):
        raise RowFlaw("wrong_shape", f"{len(texts)} responses but {len(scores)} scores")
    sources = columns.responses if isinstance(columns.responses, tuple) else [""] * len(texts)
    answers = [
        Answer(text_of(text), score_of(score), source)
        for text, score, source in zip(texts, scores, sources, strict=True)
    ]
    return Draft(asked.content, answers, domain, rows="scores")


def _scores(row: Fields, named: Named, count: int) -> tuple[object, object]:
    scores = [score_of(each) for each in _values(row, named)]
    if len(scores) != count:
        raise RowFlaw("wrong_shape", f"{len(scores)} scores: {count} were expected")
    return scores[0], scores[1]


def _prompt(row: Fields, columns: Columns) -> Any:
    names = [columns.prompt] if isinstance(columns.prompt, str) else columns.prompt
    told = {name: value for name in names if (value := at(row, name)) not in (None, "", [])}
    parts = [content_of(_passages(value) if len(told) > 1 else value, name) for name, value in told.items()]
    if not parts:
        raise RowFlaw("empty_prompt", f"{', '.join(names)} is empty")
    content = parts[0] if len(parts) == 1 else _joined(parts)
    return with_system({"system": at(row, columns.system)}, content) if columns.system else content


def _passages(value: object) -> object:
    """Passages beside a question as one text."""
    texts = unspelt(value)
    if isinstance(texts, list) and all(isinstance(each, str) for each in texts):
        return "\n".join(texts)
    return value


def _joined(parts: list[Any]) -> Any:
    if all(isinstance(part, str) for part in parts):
        return "\n".join(parts)
    return [turn for part in parts for turn in as_turns(part)]


def _values(row: Fields, named: Named) -> list[Any]:
    if isinstance(named, str):
        value = at(row, named)
        return (
            [value]
            if isinstance(value, str | int | float) and not _spells_list(value)
            else listed(value, named)
        )
    return [at(row, name) for name in named]


def _spells_list(value: object) -> bool:
    return isinstance(value, str) and isinstance(decoded(value), list)


def at(row: Fields, name: str) -> Any:
    """The value at a column, or at a dotted path into one; RowFlaw where there is none of that name."""
    if name in row:
        return row[name]
    value: Any = row
    for step in name.split("."):
        value = decoded(value) if isinstance(value, str) else value
        if isinstance(value, dict) and step in value:
            value = value[step]
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        elif isinstance(value, list) and all(isinstance(each, dict) and step in each for each in value):
            value = [each[step] for each in value]
        else:
            raise RowFlaw("wrong_shape", f"no column {shown(name)}: the row has {', '.join(map(str, row))}")
    return value
