"""Texts of prompts and responses as token ids in which no control token comes of a text's own words."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

# Stand in a rendered text for a control token that a user wrote; private characters that no text holds.
_OPEN, _CLOSE = "\ue0f0", "\ue0f1"
_HIDDEN = re.compile(f"{_OPEN}(\\d+){_CLOSE}")


def hide(text: str, tokenizer: Any) -> str:
    """The text with its control tokens made unknown to the tokenizer, until `encode` writes them out."""
    known = _control_tokens(tokenizer)
    if known is None or not known.search(text):
        return text
    names = _names(tokenizer)
    return known.sub(lambda found: f"{_OPEN}{names.index(found[0])}{_CLOSE}", text)


def encode(text: str, tokenizer: Any, *, add_special_tokens: bool = False) -> list[int]:
    """Token ids of a text, in which what `hide` hid is spelt out as plain text."""
    if _OPEN not in text:
        return list(tokenizer.encode(text, add_special_tokens=add_special_tokens))
    names, ids = _names(tokenizer), []
    for index, part in enumerate(_HIDDEN.split(text)):
        if index % 2:
            part = names[int(part)]
            ids += tokenizer.encode(part, add_special_tokens=False, split_special_tokens=True)
        elif part or not index:
            ids += tokenizer.encode(part, add_special_tokens=add_special_tokens and not index)
    return ids


def restore(text: str, tokenizer: Any) -> str:
    """The text as it was before `hide`."""
    names = _names(tokenizer) if _OPEN in text else ()
    return _HIDDEN.sub(lambda found: names[int(found[1])], text)


@lru_cache(maxsize=8)
def _names(tokenizer: Any) -> tuple[str, ...]:
    """The control tokens, the longest first."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    names = {str(token.content) for token in added.values() if token.special}
    return tuple(sorted(names - {""}, key=lambda name: (-len(name), name)))


@lru_cache(maxsize=8)
def _control_tokens(tokenizer: Any) -> re.Pattern[str] | None:
    names = _names(tokenizer)
    return re.compile("|".join(map(re.escape, names))) if names else None
