"""What a pool is made of: prompts, and scored candidate responses to each of them."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Message:
    """One turn of a dialogue; `role` is `system`, `user` or `assistant`."""

    role: str
    content: str


@dataclass(frozen=True)
class Prompt:
    """What a response answers: a text, or a dialogue that ends with the user's turn.

    `meta` travels with the prompt to a verifier (a reference answer, a list of constraints).
    """

    content: str | tuple[Message, ...]
    domain: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @cached_property
    def text(self) -> str:
        """The words of the prompt alone, turns separated by a newline: what diversity is measured on."""
        if isinstance(self.content, str):
            return self.content
        return "\n".join(message.content for message in self.content)

    @cached_property
    def key(self) -> str:
        """Identity of the prompt: a digest of its text after Unicode, case and white space are normalised."""
        normal = _SPACE.sub(" ", unicodedata.normalize("NFKC", self.text)).strip().casefold()
        return hashlib.sha256(normal.encode()).hexdigest()


@dataclass(frozen=True)
class Response:
    """One candidate answer with its annotation: `score` is finite, higher is better."""

    text: str
    score: float
    source: str = ""


@dataclass(frozen=True)
class Example:
    """A prompt with its candidate responses, in the order in which the pool lists them."""

    prompt: Prompt
    responses: tuple[Response, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON: what `dataclasses.asdict` gives, in half the time."""
        content = self.prompt.content
        turns = content if isinstance(content, str) else [dict(vars(turn)) for turn in content]
        prompt = {"content": turns, "domain": self.prompt.domain, "meta": self.prompt.meta}
        return {"prompt": prompt, "responses": [dict(vars(response)) for response in self.responses]}


@dataclass(frozen=True)
class Pool:
    """All that a study may draw on. `train` and `held_out` share no prompt (see `Prompt.key`).

    `train` may lie on disk (`pools.stored`): go through it, and keep no more of it than you need.
    """

    name: str
    train: Sequence[Example]
    held_out: tuple[Example, ...]
    description: str = ""
