"""A prompt and its responses as JSON texts, and back: how a pool that is kept on disk holds them."""

from __future__ import annotations

import json
from collections.abc import Iterable

from pools.types import Message, Prompt, Response

_encode = json.JSONEncoder(default=str, check_circular=False).encode


def pack_prompt(prompt: Prompt) -> str:
    """The prompt as one line of JSON; what JSON has no form for in its `meta` (a date) becomes a text."""
    content = prompt.content
    turns = content if isinstance(content, str) else [(turn.role, turn.content) for turn in content]
    return _encode([turns, prompt.domain, prompt.meta])


def unpack_prompt(text: str) -> Prompt:
    """The prompt that `pack_prompt` made a text of."""
    content, domain, meta = json.loads(text)
    turns = content if isinstance(content, str) else tuple(Message(*turn) for turn in content)
    return Prompt(turns, domain, meta)


def pack_responses(responses: Iterable[Response]) -> str:
    """The responses as one line of JSON; scores come back as they were, to the last bit."""
    return _encode([(each.text, each.score, each.source) for each in responses])


def unpack_responses(text: str) -> tuple[Response, ...]:
    """The responses that `pack_responses` made a text of."""
    return tuple(Response(*each) for each in json.loads(text))
