"""Two sides of a comparison: dialogues, lone answers, or texts, with or without a prompt beside them."""

from __future__ import annotations

import os.path
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from pools.flaws import RowFlaw, shown
from pools.formats.draft import Answer, Draft, Fields, Turn
from pools.formats.prompt import (
    SYSTEM,
    Asked,
    as_turns,
    bare,
    content_of,
    given_prompt,
    no_prompt,
    occurs,
    with_system,
)
from pools.formats.values import (
    SPELT,
    decoded,
    dialogue,
    is_parts,
    is_turn,
    is_turns,
    joined_parts,
    merged_turns,
    number_of,
    turn_of,
    turns_of,
)

SIDES = ("chosen", "rejected")
# Columns of texts that are never a prompt: beside them, the prompt of two texts is their common beginning.
_ABOUT = re.compile(
    r"(.*[-_.])?(id|ids|idx|index|uuid|hash|sha256|source|sources|dataset|datasets|split|subset|models?|"
    r"model_name|lang|language|domain|category|categories|task|type|types|tags?|labels?|margin|metadata|meta|"
    r"date|time|timestamp|status|worker|annotator|user|version|license|url|ratings?|scores?|rewards?)",
    re.IGNORECASE,
)


def pair(
    row: Fields,
    first: object,
    second: object,
    scores: tuple[object, object],
    names: tuple[str, str] = SIDES,
    asked: Asked | None = None,
) -> Draft:
    """The draft of a comparison; RowFlaw where the sides do not answer one prompt, or are one answer."""
    one, two = _side(first, names[0]), _side(second, names[1])
    if isinstance(one, list) and isinstance(two, list):
        content, texts = _of_dialogues(row, one, two, asked)
    elif isinstance(one, str) and isinstance(two, str):
        content, texts = _of_texts(row, one, two, names, asked)
    else:
        raise RowFlaw(
            "wrong_shape", f"{names[0]} is {shown(first)}, {names[1]} {shown(second)}: of two kinds"
        )
    if str(texts[0]).strip() == str(texts[1]).strip():
        raise RowFlaw("duplicate_response", f"{names[0]} and {names[1]} are the same")
    answers = [Answer(texts[side], scores[side], names[side]) for side in (0, 1)]
    return Draft(content, answers, rows="pairs")


def scores_beside(row: Fields) -> Mapping[str, str]:
    """Columns that score the chosen side, and the rejected one (`score_chosen`, `chosen-rating`, ...)."""
    return scored_sides(tuple(row))


@lru_cache(4096)
def scored_sides(columns: tuple[str, ...]) -> Mapping[str, str]:
    """As `scores_beside`, of the names of the columns."""
    sides = {name: name.replace("chosen", "rejected") for name in columns if _SCORE.search(name)}
    return {one: two for one, two in sides.items() if one != two and two in columns}


_SCORE = re.compile(r"scor|rating|reward", re.IGNORECASE)


def pair_scores(row: Fields) -> tuple[object, object] | None:
    """The scores of both sides where the row has them."""
    for chosen, rejected in scores_beside(row).items():
        scores = number_of(row[chosen]), number_of(row[rejected])
        if all(isinstance(score, int | float) and not isinstance(score, bool) for score in scores):
            return scores
    return None


def _side(value: object, name: str) -> str | list[Turn]:
    """One side: a dialogue, or a text."""
    if isinstance(value, str):
        if (turns := dialogue(value)) is not None:
            return turns
        inner = decoded(value) if value.startswith(SPELT) else None
        return _side(inner, name) if is_turns(inner) or is_turn(inner) else value
    if is_turns(value):
        return turns_of(value)  # type: ignore[arg-type]
    if is_turn(value):
        return [turn_of(value)]
    if is_parts(value):
        return joined_parts(value)  # type: ignore[arg-type]
    if value is None or value == []:
        raise RowFlaw("empty_response", f"{name} is missing")
    raise RowFlaw("wrong_shape", f"{name} is {shown(value)}: a text or a list of turns was expected")


def _of_dialogues(
    row: Fields, one: list[Turn], two: list[Turn], asked: Asked | None
) -> tuple[str | list[Turn], Sequence[object]]:
    """Prompt and answers of two dialogues that differ only in their last turn, an assistant's."""
    for turns in (one, two):
        if turns[-1].get("role") != "assistant":
            raise RowFlaw("wrong_shape", "a dialogue does not end with an answer by the assistant")
    texts = [turns[-1].get("content") for turns in (one, two)]
    if one[:-1] != two[:-1] and list(map(bare, one[:-1])) != list(map(bare, two[:-1])):
        raise RowFlaw("no_shared_prompt", f"{len(one)} and {len(two)} turns")
    shared = one[:-1]
    if not any(turn.get("role") == "user" for turn in shared):
        given = asked or given_prompt(row)
        if given is None:
            raise no_prompt(row)
        return merged_turns([*as_turns(given.content), *shared]), texts
    return merged_turns(_held(row, shared, asked)), texts


def _held(row: Fields, shared: list[Turn], asked: Asked | None) -> list[Turn]:
    """The turns of a prompt that the dialogues hold, after a given one that goes on in them."""
    value = asked.content if asked else row.get("prompt")
    if value:
        given = as_turns(value if asked else content_of(value, "prompt"))
        own = [turn for turn in given if turn.get("role") != "system" or not occurs([turn], shared)]
        if not occurs(own, shared):
            if own[-1].get("role") == "user":
                raise RowFlaw(
                    "no_shared_prompt", f"prompt is {shown(value)}, which the dialogues do not hold"
                )
            shared = [*own, *shared]
    return as_turns(with_system(row, shared))


def _of_texts(
    row: Fields, one: str, two: str, names: tuple[str, str], asked: Asked | None
) -> tuple[str | list[Turn], Sequence[object]]:
    """Prompt and answers of two texts: the prompt beside them, or what both begin with."""
    if (given := asked or given_prompt(row)) is not None:
        return given.content, (one, two)
    if (others := other_texts(row, names)) and one.strip() and two.strip():
        raise RowFlaw(
            "unknown_shape",
            f"the prompt may be in {', '.join(others)}: say so with pool.columns, such as "
            f"{{prompt: {others[0]}, {names[0]}: {names[0]}, {names[1]}: {names[1]}}}",
        )
    if one.strip() == two.strip():
        raise RowFlaw("duplicate_response", f"{names[0]} and {names[1]} are the same")
    if one.startswith(two) or two.startswith(one):
        raise RowFlaw(
            "no_shared_prompt", "one side begins the other, so that where the answer starts is open"
        )
    start = _common_words(one, two)
    return with_system(row, one[:start]), (one[start:], two[start:])


def other_texts(row: Fields, names: Sequence[str]) -> list[str]:
    """Columns that hold a text or a structure, and are neither a side nor about the row."""
    skipped = {*names, *SYSTEM, "part", "domain"}
    return [
        name
        for name, value in row.items()
        if name not in skipped and value and isinstance(value, str | list | dict) and not is_about(name)
    ]


def is_about(name: str) -> bool:
    """Whether a column of this name is about the row, and holds neither prompt nor response."""
    return _ABOUT.fullmatch(name) is not None


def _common_words(first: str, second: str) -> int:
    """Length of the longest common beginning that ends at a word's end."""
    shared = len(os.path.commonprefix([first, second]))
    while shared and not (first[shared : shared + 1].isspace() and second[shared : shared + 1].isspace()):
        shared -= 1
    return shared
