"""Values as people write them: JSON inside a text, content parts, other names for roles, scores as words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import groupby
from typing import Any

from pools.flaws import RowFlaw, shown
from pools.formats.draft import Fields, Turn
from pools.formats.printed import from_printed

ROLES = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "developer": "system",
    "human": "user",
    "prompter": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "model": "assistant",
}
_WRITTEN_OUT = ("system", "user", "assistant")
_TOOL_ROLES = {"tool", "function", "function_call", "observation", "ipython"}
_HUMAN_TURN = re.compile(r"\n\n(Human|Assistant):")
_SPEAKERS = {"Human": "user", "Assistant": "assistant"}
_LIKERT = re.compile(r"\s*([-+]?\d+(?:\.\d+)?)(?:\s*[-–:.)]\s*[^\d\s].*|\s+[^\d\s/].*)?\s*", re.DOTALL)
_GOOD = ("true", "yes", "good", "chosen", "accepted", "desirable", "positive", "thumbs_up", "👍")
_BAD = ("false", "no", "bad", "rejected", "undesirable", "negative", "thumbs_down", "👎")
_VERDICTS = dict.fromkeys(_GOOD, 1.0) | dict.fromkeys(_BAD, 0.0)
_NO_SCORE = {"", "n/a", "na", "none", "null", "nan", "-", "?"}
_FRACTION = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(\d+(?:\.\d+)?)")
_DECORATED = re.compile(r"np\.\w+\((?P<numpy>[-+.\w]+)\)|(?P<percent>[-+]?\d+(?:\.\d+)?)\s*%")
_DECIMAL_COMMA = re.compile(r"[-+]?\d+,(?:\d{1,2}|\d{4,})")  # three digits after it may be thousands
# How a text begins that may be a list or an object in JSON, or a text in JSON that is one.
SPELT = ("[{", "{", '"[{', '"{')
_PRINTED = re.compile(r"""\[\s*(?:['"{\[(\d.+-]|np\.|array\(|Decimal\(|None|nan)|\{\s*['"]""")
_ROLE_KEYS, _TEXT_KEYS = ("role", "from", "speaker"), ("content", "value", "text")


def decoded(text: str) -> object:
    """The list or object that a text spells in JSON, or as Python prints it; else the text itself."""
    whole = text.strip()
    if not whole.startswith(("[", "{", '"[', '"{')):
        return text
    try:
        value = _parsed(whole)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text
    if not isinstance(value, str):
        return value
    inner = decoded(value)  # JSON inside JSON
    return text if isinstance(inner, str) else inner


def unspelt(value: object) -> object:
    """The value, or the list or object that it spells."""
    return decoded(value) if isinstance(value, str) else value


def spells_texts(value: object) -> bool:
    """Whether a text is a list of texts in JSON."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return False
    inner = decoded(value)
    return isinstance(inner, list) and bool(inner) and all(isinstance(each, str) for each in inner)


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        if not _PRINTED.match(text):  # cheap to tell, unlike to try
            raise
        return from_printed(text)


def listed(value: object, name: str) -> list[Any]:
    """A list, which may be spelt in JSON; none for null. Raises RowFlaw for anything else."""
    if value is None:
        return []
    if isinstance(value, str):
        value = decoded(value) if value.strip() else []
    if not isinstance(value, list):
        raise RowFlaw("wrong_shape", f"{name} is {shown(value)}: a list was expected")
    return value


def objects(value: object, name: str) -> list[Fields | None]:
    """A list of objects, or an object of equally long lists turned into one; null items stay."""
    value = unspelt(value)
    items = _transposed(value, name) if isinstance(value, dict) else listed(value, name)
    for item in items:
        if item is not None and not isinstance(item, dict):
            raise RowFlaw("wrong_shape", f"{name} holds {shown(item)}: an object was expected")
    return items


def _transposed(value: Fields, name: str) -> list[Any]:
    columns = {key: each for key, each in value.items() if each is not None}
    if not columns or not all(isinstance(each, list) for each in columns.values()):
        raise RowFlaw("wrong_shape", f"{name} is {shown(value)}: a list was expected")
    if len({len(each) for each in columns.values()}) != 1:
        lengths = ", ".join(f"{len(each)} x {key}" for key, each in columns.items())
        raise RowFlaw("wrong_shape", f"{name} holds lists of unequal length: {lengths}")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def is_turns(value: object) -> bool:
    """Whether this is a list of turns, by its first item."""
    return isinstance(value, list) and bool(value) and is_turn(value[0])


def is_turn(value: object) -> bool:
    """Whether this is one turn of a dialogue."""
    return isinstance(value, dict) and (
        ("role" in value and "content" in value)
        or ("from" in value and "value" in value)
        or (any(name in value for name in _ROLE_KEYS) and any(name in value for name in _TEXT_KEYS))
    )


def turn_of(item: object) -> Turn:
    """One turn as role and content, whatever its keys, roles and parts are called, without null fields."""
    if not isinstance(item, dict):
        raise RowFlaw("wrong_shape", f"{shown(item)}: a turn with role and content was expected")
    if len(item) == 2 and item.get("role") in _WRITTEN_OUT and isinstance(item.get("content"), str):
        return item  # most are just so
    role = first_of(item, _ROLE_KEYS)
    calls = item.get("tool_calls") or item.get("function_call")
    if isinstance(role, str):
        role = ROLES.get(role) or ROLES.get(role.lower(), role)
        calls = calls or role in _TOOL_ROLES
    if calls:
        raise RowFlaw("tool_turn", f"a turn of {shown(role)}")
    content = first_of(item, _TEXT_KEYS)
    return {"role": role, "content": joined_parts(content) if isinstance(content, list) else content}


def turns_of(value: Sequence[object]) -> list[Turn]:
    """A list of turns, each as `turn_of` reads it; a system turn that is null at the start is none."""
    turns = [turn_of(item) for item in value]
    if turns and turns[0]["content"] is None and turns[0]["role"] == "system":
        del turns[0]
    return turns


def joined_parts(parts: Sequence[object]) -> str:
    """The text of a list of content parts; RowFlaw where one is no text."""
    texts = []
    for part in parts:
        kind = part.get("type", "text") if isinstance(part, dict) else type(part).__name__
        text = part.get("text") if isinstance(part, dict) else part
        if kind not in ("text", "input_text", "output_text", "str") or not isinstance(text, str):
            raise RowFlaw("wrong_shape", f"content holds a part of type {shown(kind)}: only text can be used")
        texts.append(text)
    return "".join(texts)


def is_parts(value: object) -> bool:
    """Whether this is a list of content parts."""
    return isinstance(value, list) and bool(value) and all(isinstance(p, dict) and "type" in p for p in value)


def dialogue(text: str) -> list[Turn] | None:
    r"""The turns of a text in the way of HH-RLHF (`\n\nHuman:`, `\n\nAssistant:`); None for other texts."""
    if not text.startswith(("\n\nHuman:", "Human:", "\n\nAssistant:")):
        return None
    whole = text if text.startswith("\n\n") else f"\n\n{text}"
    return marked_turns(whole, _HUMAN_TURN, _SPEAKERS)


def marked_turns(text: object, marker: re.Pattern[str], roles: Mapping[str, str]) -> list[Turn]:
    """The turns of a marked-up dialogue, just as they are marked; RowFlaw where it opens with none."""
    if not isinstance(text, str):
        raise RowFlaw("wrong_shape", f"{shown(text)}: a dialogue was expected")
    before, *pieces = marker.split(text)
    if before.strip() or not pieces:
        raise RowFlaw("wrong_shape", f"{shown(text)}: a dialogue that opens with a turn was expected")
    marked = zip(pieces[::2], pieces[1::2], strict=True)
    return [{"role": roles[mark], "content": content.strip()} for mark, content in marked]


def hh_turns(text: object) -> list[Turn]:
    """The turns of a text that must be in the way of HH-RLHF."""
    return marked_turns(text, _HUMAN_TURN, _SPEAKERS)


def open_prompt(turns: list[Turn]) -> list[Turn]:
    """The prompt of a dialogue that may end with an empty turn, left open for the answer."""
    if turns and turns[-1]["role"] == "assistant" and not turns[-1]["content"]:
        return merged_turns(turns[:-1])
    return merged_turns(turns)


def merged_turns(turns: Sequence[Turn]) -> list[Turn]:
    """Neighbouring turns of one role as one turn: chat templates want the roles to take turns."""
    return [
        {"role": role, "content": "\n\n".join(str(turn.get("content") or "") for turn in group).strip()}
        for role, group in groupby(turns, key=lambda turn: turn.get("role"))
    ]


def text_of(value: object) -> object:
    """The text of a response: a text, a turn, a list with one turn, or content parts, in JSON or not."""
    if isinstance(value, str):
        inner = decoded(value) if value.startswith(SPELT) else None
        return text_of(inner) if is_turns(inner) or is_turn(inner) else value
    if is_turn(value):
        return turn_of(value)["content"]
    if is_turns(value):
        turns = turns_of(value)  # type: ignore[arg-type]
        if len(turns) == 1 and turns[0]["role"] == "assistant":
            return turns[0]["content"]
        raise RowFlaw("wrong_shape", f"{shown(value)}: one turn of the assistant was expected as a response")
    return joined_parts(value) if is_parts(value) else value  # type: ignore[arg-type]


def number_of(score: object) -> object:
    """A score as a number where it is one: of a text its leading number ("5 - excellent"), of "N/A" None."""
    if isinstance(score, str):
        text = score.strip()
        if text.lower() in _NO_SCORE:
            return None
        try:
            return float(text)
        except ValueError:
            found = _LIKERT.fullmatch(text)
            return float(found[1]) if found else _decorated(text, score)
    return float(score) if isinstance(score, Decimal) else score


def _decorated(text: str, score: object) -> object:
    """The number of "8/10", "80%", "0,8" or "np.float64(0.8)"; else the score as it is."""
    if (found := _FRACTION.fullmatch(text)) and float(found[2]):
        return float(found[1]) / float(found[2])
    if _DECIMAL_COMMA.fullmatch(text):
        return float(text.replace(",", "."))
    found = _DECORATED.fullmatch(text)
    return number_of(found["numpy"] or found["percent"]) if found else score


def score_of(value: object) -> object:
    """A score or verdict on one response: a number, yes or no as 1 or 0, the mean of several people's."""
    value = unspelt(value)
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str) and (word := value.strip().lower()) in _VERDICTS:
        return _VERDICTS[word]
    if isinstance(value, list) and value:
        known = [each for each in map(score_of, value) if each is not None]
        numbers = [float(each) for each in known if isinstance(each, int | float)]
        return sum(numbers) / len(numbers) if numbers and len(numbers) == len(known) else value
    return number_of(value)


def first_named(row: Fields, names: Sequence[str], reason: str = "wrong_shape") -> str:
    """The first of these columns that is not null; RowFlaw where none is there."""
    for name in names:
        if row.get(name) is not None:
            return name
    raise RowFlaw(reason, f"none of the columns {', '.join(names)} is there")


def first_of(row: Fields, names: Sequence[str]) -> Any:
    """The first value of these columns that is not null."""
    for name in names:
        if (value := row.get(name)) is not None:
            return value
    return None
