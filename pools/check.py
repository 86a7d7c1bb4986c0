"""From a draft to an example whose texts and scores can be relied on."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import NamedTuple

from pools.flaws import Flaw, RowFlaw, shown
from pools.formats.draft import Answer, Draft
from pools.formats.values import decoded, number_of
from pools.types import Message, Prompt, Rating, Response

_CONTROL = re.compile(
    r"<\|(?:im_start|im_end|im_sep|endoftext|begin_of_text|end_of_text|eot_id|start_header_id|end_header_id|"
    r"system|user|assistant|prompter|end|endofprompt|end_of_turn|end_of_role|start_of_role|eom_id|"
    r"START_OF_TURN_TOKEN|END_OF_TURN_TOKEN|(?:USER|CHATBOT|SYSTEM)_TOKEN)\|>|\[/?INST\]|<</?SYS>>|"
    r"<(?:start|end)_of_turn>|<extra_id_\d>|</s>"
)
_SHORT = 20  # characters of a prompt that a response may well begin with by itself
ROLES = ("system", "user", "assistant")
PARTS = ("train", "held_out")


class Checked(NamedTuple):
    """A good prompt with its good responses, the flaws of the others, and the part (empty: not marked).

    `flaws` holds notes on what is used (`pools.flaws.NOTES`) too.
    """

    prompt: Prompt
    responses: tuple[Response, ...]
    flaws: tuple[Flaw, ...]
    part: str


def check(draft: Draft) -> Checked:
    """The example of a draft; raises RowFlaw where the prompt, its part or its meta cannot be used."""
    meta = draft.meta if draft.meta is not None else {}
    if not isinstance(meta, dict):
        raise RowFlaw("wrong_shape", f"meta is {shown(meta)}: an object was expected")
    part = _label(draft.part, "part")
    if part and part not in PARTS:
        raise RowFlaw("wrong_shape", f"part is {shown(part)}: one of {', '.join(PARTS)} was expected")
    prompt = Prompt(_content(draft.prompt), _label(draft.domain, "domain"), meta)
    responses: list[Response] = []
    flaws: list[Flaw] = []
    for answer in draft.answers:
        try:
            responses.append(_response(answer))
        except RowFlaw as error:
            flaws.append(error.flaw)
    flaws += map(Flaw, draft.notes)
    texts = [response.text for response in responses]
    if _may_be_notable(prompt.text, texts):
        flaws += _notes(prompt.text, texts)
    return Checked(prompt, tuple(responses), tuple(flaws), part)


def _may_be_notable(prompt: str, responses: Sequence[str]) -> bool:
    """Whether to look for what `_notes` is about; hardly ever, and this costs little."""
    whole = "\n".join([prompt, *responses])
    return "<" in whole or "[" in whole or (bool(responses) and responses[0].startswith(prompt))


def _notes(prompt: str, responses: Sequence[str]) -> Iterator[Flaw]:
    """What is worth telling of texts that are used as they are."""
    for text in (prompt, *responses):
        if ("<" in text or "INST]" in text) and (found := _CONTROL.search(text)):
            yield Flaw("control_tokens", found[0])
            break
    if len(prompt) > _SHORT and len(responses) > 1 and all(text.startswith(prompt) for text in responses):
        yield Flaw("prompt_repeated", shown(prompt))
    for text in responses:
        if text[:2] == '["' and isinstance(inner := decoded(text), list) and all(map(_is_text, inner)):
            yield Flaw("json_text", shown(text))
            break


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _content(prompt: object) -> str | tuple[Message, ...]:
    if isinstance(prompt, str):
        return _text(prompt, "empty_prompt")
    if not isinstance(prompt, list) or not prompt:
        if prompt:
            raise RowFlaw("wrong_shape", f"prompt is {shown(prompt)}: a text or a list of turns was expected")
        raise RowFlaw("empty_prompt")
    turns = tuple(_message(turn) for turn in prompt)
    if turns[-1].role != "user":
        raise RowFlaw("wrong_shape", f"prompt ends with a turn of {turns[-1].role}: the user's was expected")
    _text("".join(turn.content for turn in turns), "empty_prompt")
    return turns


def _message(turn: object) -> Message:
    role, content = (turn.get("role"), turn.get("content")) if isinstance(turn, dict) else (None, None)
    if role not in ROLES or not isinstance(content, str):
        raise RowFlaw(
            "wrong_shape", f"turn {shown(turn)}: content and a role of {', '.join(ROLES)} were expected"
        )
    return Message(str(role), content)


def _text(text: object, reason_if_empty: str) -> str:
    if text is not None and not isinstance(text, str):
        raise RowFlaw("wrong_shape", f"{shown(text)}: a text was expected")
    if not text or text.isspace():
        raise RowFlaw(reason_if_empty)
    return _encodable(text)


def _spoken(text: object) -> str:
    """A response that says something beside control tokens."""
    said = _text(text, "empty_response")
    if said.lstrip()[:1] in "<[" and not _CONTROL.sub("", said).strip():
        raise RowFlaw("empty_response", f"{shown(said)} is control tokens alone")
    return said


def _encodable(text: str) -> str:
    """JSON may spell half a character (a lone surrogate), which no tokenizer, digest or terminal takes."""
    if text.isascii():  # most are, and it costs nothing to ask
        return text
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RowFlaw("bad_utf8", f"a lone surrogate at character {error.start + 1} of a text") from None
    return text


def _label(value: object, name: str) -> str:
    if value is None or isinstance(value, str):
        return _encodable(value or "")
    if isinstance(value, int) and not isinstance(value, bool):  # a class by its number
        return str(value)
    raise RowFlaw("wrong_shape", f"{name} is {shown(value)}: a text was expected")


def _response(answer: Answer) -> Response:
    text, score, source, ratings, *judged = answer
    label = "" if source is None else _label(source, "source")
    said, value, told = _spoken(text), _score(score), ratings_of(ratings) if ratings else ()
    return Response(said, value, label, told, *map(_finite_or_none, judged))


def _finite_or_none(value: object) -> float | None:
    """A judge's score; None where it is anything but a finite number: the name may mean something else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def ratings_of(value: object) -> tuple[Rating, ...]:
    """The ratings `{rater, rank or rating, among}` in a list; none where it holds anything else.

    Published data sets have columns of the same name and another shape.
    """
    found = [_rating(each) for each in value] if isinstance(value, list) else []
    return () if None in found else tuple(each for each in found if each is not None)


def _rating(value: object) -> Rating | None:
    if not isinstance(value, dict) or not isinstance(value.get("rater"), str):
        return None
    rank, rating, among = value.get("rank"), value.get("rating"), value.get("among") or ()
    given = rating if rank is None else rank
    if isinstance(given, bool) or not isinstance(given, int | float) or not abs(given) < 1e9:
        return None
    if not isinstance(among, list | tuple) or not all(isinstance(index, int) for index in among):
        return None
    return Rating(value["rater"], float(given if rank is None else -given), tuple(among))


def _score(score: object) -> float:
    value = score if isinstance(score, float) else _as_float(score)
    if not math.isfinite(value):
        raise RowFlaw("bad_score", f"{shown(score if isinstance(score, int) else value)} is not finite")
    return value


def _as_float(score: object) -> float:
    if isinstance(score, str | Decimal):
        score = number_of(score)
    if score is None:
        raise RowFlaw("missing_score")
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise RowFlaw("bad_score", f"{shown(score)} is not a number")
    try:
        return float(score)
    except OverflowError:
        return math.inf
