"""Which columns of a row are its prompt: names that published data sets use, and no guess beyond them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from pools.flaws import RowFlaw, shown
from pools.formats.draft import Fields, Turn
from pools.formats.values import (
    SPELT,
    decoded,
    dialogue,
    is_turn,
    is_turns,
    marked_turns,
    open_prompt,
    turn_of,
    turns_of,
    unspelt,
)

SYSTEM = ("system", "system_prompt", "system_message")
PROMPT = (
    "prompt",
    "question",
    "instruction",
    "query",
    "input",
    "context",
    "problem",
    "user_prompt",
    "user_input",
    "trajectory",
    "conversations",
    "conversation",
    "messages",
)
# What a question may be about: never left out unsaid, and never put before it unasked.
PASSAGES = ("documents", "document", "passages", "passage", "contexts", "article")
HISTORY = ("history", "chat_history", "conversation_history", "dialogue_history")
_KNOWN = frozenset(PROMPT)
_HISTORIES = frozenset(HISTORY)
_PASSAGES = frozenset(PASSAGES)
TURN_MARK = "<extra_id_1>"
_TURN_MARK = re.compile(r"\n?<extra_id_1>(User|Assistant|System)\n")
_TURN_ROLES = {"User": "user", "Assistant": "assistant", "System": "system"}


@lru_cache(4096)
def named(columns: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """The columns of a known name for the prompt, and for the system turn, the likeliest first."""
    return [name for name in PROMPT if name in columns], [name for name in SYSTEM if name in columns]


class Asked(NamedTuple):
    """A prompt, as a text or turns, and the columns that it was read from."""

    content: str | list[Turn]
    columns: tuple[str, ...]


def prompt_of(row: Fields) -> Asked:
    """The prompt of a row with its system turn; RowFlaw where no known column holds one, or two could."""
    if (asked := given_prompt(row)) is None:
        raise no_prompt(row)
    return asked


def no_prompt(row: Fields) -> RowFlaw:
    """The flaw of a row whose prompt is empty, or in no column of a known name."""
    if not _KNOWN.isdisjoint(row):
        return RowFlaw("empty_prompt")
    columns = ", ".join(map(str, row))
    return RowFlaw(
        "unknown_shape",
        f"no column of a known name holds the prompt; the columns are {columns}. Say which one does with "
        "pool.columns: {prompt: COLUMN, chosen: COLUMN, rejected: COLUMN}",
    )


def filled(row: Fields, names: Sequence[str]) -> list[str]:
    """Those of these columns that hold something."""
    return [
        name
        for name in names
        if (value := row.get(name)) and not (isinstance(value, str) and value.isspace())
    ]


def given_prompt(row: Fields) -> Asked | None:
    """As `prompt_of`, but None where no known column holds anything."""
    prompts, systems = named(tuple(row))
    given = filled(row, prompts)
    if not given:
        return None
    if given[:2] == [
        "instruction",
        "input",
    ]:  # as LLaMA-Factory and Alpaca have it: a task, and what it is for
        content: str | list[Turn] = _after_history(row, f"{row['instruction']}\n{row['input']}")
        columns, others = tuple(given[:2]), given[2:]
    else:
        content = _after_history(row, content_of(row[given[0]], given[0]))
        columns, others = (given[0],), given[1:]
    if not _PASSAGES.isdisjoint(row):
        _refuse_passages(columns[-1], content, row)
    for other in others:
        _refuse_second(columns[-1], content, other, row[other])
    system = _system(row, systems)
    return Asked(_after_system(row, system, content), system + columns)


def content_of(value: object, name: str) -> str | list[Turn]:
    """A prompt as it stands in one column: a text, marked or not, or turns, spelt in JSON or not."""
    if isinstance(value, str):
        if (turns := dialogue(value)) is not None:
            return open_prompt(turns)
        if TURN_MARK in value and _TURN_MARK.search(value):  # as HelpSteer writes dialogues
            start = "" if _TURN_MARK.match(value) else f"{TURN_MARK}User\n"
            return open_prompt(marked_turns(start + value, _TURN_MARK, _TURN_ROLES))
        inner = decoded(value) if value.startswith(("[", *SPELT)) else value
        return value if isinstance(inner, str) else _structured(inner, name, value)
    return _structured(value, name)


def _structured(value: object, name: str, spelt: str = "") -> str | list[Turn]:
    if is_turns(value):
        turns = turns_of(value)  # type: ignore[arg-type]
        return turns[:-1] if len(turns) > 1 and _is_open(turns[-1]) else turns
    if is_turn(value):
        return [turn_of(value)]
    if isinstance(value, dict) and isinstance(value.get("messages"), list):
        return _structured(value["messages"], f"{name}.messages")
    if spelt and not (isinstance(value, list) and value and all(isinstance(each, str) for each in value)):
        return spelt  # a text that happens to be JSON: code, a table, numbers
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        return value[0]
    raise RowFlaw("wrong_shape", f"{name} is {shown(value)}: a text or a list of turns was expected")


def _is_open(turn: Turn) -> bool:
    return turn["role"] == "assistant" and not turn["content"]


def system_columns(row: Fields) -> tuple[str, ...]:
    """The column that holds a system turn, if one does."""
    return _system(row, named(tuple(row))[1])


def _system(row: Fields, names: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        if isinstance(row[name], str) and row[name].strip():
            return (name,)
    return ()


def with_system(row: Fields, content: str | list[Turn]) -> str | list[Turn]:
    """The prompt after the row's system turn, which it may hold already."""
    return _after_system(row, system_columns(row), content)


def _after_system(row: Fields, columns: tuple[str, ...], content: str | list[Turn]) -> str | list[Turn]:
    for name in columns:
        turns = as_turns(content)
        if not turns or turns[0].get("role") != "system":
            return [{"role": "system", "content": row[name]}, *turns]
        if bare(turns[0]) != ("system", row[name].strip()):
            raise RowFlaw(
                "wrong_shape", f"{name} is {shown(row[name])}, but the dialogue has another system turn"
            )
    return content


def as_turns(content: str | list[Turn]) -> list[Turn]:
    """A prompt as turns; a text is the user's."""
    return [{"role": "user", "content": content}] if isinstance(content, str) else content


def bare(turn: Turn) -> tuple[object, object]:
    """What two turns have to share to be the same: the role, and the content without outer white space."""
    content = turn.get("content")
    return turn.get("role"), content.strip() if isinstance(content, str) else content


def occurs(given: Sequence[Turn], turns: Sequence[Turn]) -> bool:
    """Whether the given turns stand in a dialogue, one after another."""
    wanted, inside = list(map(bare, given)), list(map(bare, turns))
    return any(inside[start : start + len(wanted)] == wanted for start in range(len(inside)))


def _after_history(row: Fields, content: str | list[Turn]) -> str | list[Turn]:
    """The prompt after the earlier turns that a column lists, as turns or, as in LLaMA-Factory, as pairs."""
    if _HISTORIES.isdisjoint(row) or not (name := next((each for each in HISTORY if row.get(each)), "")):
        return content
    value = unspelt(row[name])
    if is_turns(value):
        return [*turns_of(value), *as_turns(content)]  # type: ignore[arg-type]
    if not (isinstance(value, list) and all(isinstance(each, list) and len(each) == 2 for each in value)):
        raise RowFlaw("two_prompts", f"{name} is {shown(value)}: pairs of texts or turns were expected")
    roles = ("user", "assistant")
    earlier = [
        {"role": role, "content": text} for pair in value for role, text in zip(roles, pair, strict=True)
    ]
    return [*earlier, *as_turns(content)]


def _refuse_second(name: str, content: str | list[Turn], other: str, value: object) -> None:
    """RowFlaw where another known column says something that the prompt does not hold."""
    text = _words(content)
    second = _words(content_of(value, other))
    if not second or second in text or (not isinstance(value, str) and text in second):
        return
    raise RowFlaw(
        "two_prompts",
        f"{name} and {other} could both be part of the prompt; say which with pool.columns, such as "
        f"{{prompt: {name}, ...}} or {{prompt: [{other}, {name}], ...}}",
    )


def _refuse_passages(name: str, content: str | list[Turn], row: Fields) -> None:
    """RowFlaw where the row holds a passage that the prompt does not."""
    for other in PASSAGES:
        value = row.get(other)
        if value and not (isinstance(value, str) and value.strip() in _words(content)):
            raise RowFlaw(
                "two_prompts",
                f"{other} may belong before {name}; say so with pool.columns, such as "
                f"{{prompt: [{other}, {name}], ...}} or {{prompt: {name}, ...}}",
            )


def _words(content: str | list[Turn]) -> str:
    if isinstance(content, str):
        return content.strip()
    return "\n".join(str(turn.get("content") or "").strip() for turn in content)
