"""What a pool is made of: prompts, and scored candidate responses to each of them."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias


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
        """Identity of the prompt: its `guard`, and a digest of its words and roles just as they are.

        "2⁵" and "25", or `true` and `True` in code, are prompts of their own.
        """
        normal = " ".join(unicodedata.normalize("NFKC", self.text).split()).casefold()
        exact = hashlib.sha256(self._exact().encode()).hexdigest()
        return hashlib.sha256(normal.encode()).hexdigest() + exact[:16]

    @property
    def guard(self) -> str:
        """Digest of the text after Unicode, case and white space are normalised.

        No train prompt shares it with a held-out one, and it decides the seeded order.
        """
        return guard_of(self.key)

    def _exact(self) -> str:
        if isinstance(self.content, str):
            return self.content
        if len(self.content) == 1 and self.content[0].role == "user":
            return self.content[0].content
        return "\0".join(f"{turn.role}\1{turn.content}" for turn in self.content)


def guard_of(key: str) -> str:
    """`Prompt.guard` of a prompt with this `Prompt.key`."""
    return key[:64]


@dataclass(frozen=True)
class Response:
    """One candidate answer with its annotation: `score` is finite, higher is better."""

    text: str
    score: float
    source: str = ""


Compared: TypeAlias = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Example:
    """A prompt with its candidate responses, in the order in which the pool lists them.

    `compared` holds places of responses (better, worse) where only some of them were compared; None where
    the scores say it all. Pairs that were never compared are not trained on.
    """

    prompt: Prompt
    responses: tuple[Response, ...]
    compared: Compared | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON: what `dataclasses.asdict` gives, in half the time."""
        content = self.prompt.content
        turns = content if isinstance(content, str) else [dict(vars(turn)) for turn in content]
        prompt = {"content": turns, "domain": self.prompt.domain, "meta": self.prompt.meta}
        answers = [dict(vars(response)) for response in self.responses]
        pairs = {} if self.compared is None else {"compared": self.compared}
        return {"prompt": prompt, "responses": answers, **pairs}


@dataclass(frozen=True)
class Pool:
    """All that a study may draw on. `train` and `held_out` share no prompt (see `Prompt.guard`).

    `train` may lie on disk (`pools.stored`): go through it, and keep no more of it than you need.
    """

    name: str
    train: Sequence[Example]
    held_out: tuple[Example, ...]
    description: str = ""
