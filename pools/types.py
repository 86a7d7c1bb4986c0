"""What a pool is made of: prompts, and scored candidate responses to each of them."""

from __future__ import annotations

import hashlib
import unicodedata
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
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

    @property
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
        text = self.text
        composed = text if text.isascii() else unicodedata.normalize("NFKC", text)
        normal = " ".join(composed.split()).casefold()
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
class Rating:
    """What one rater said of a response: a higher `worth` is better, within one rater's judgement alone.

    `among` names the responses of the row that the judgement was about, where it was not about all.
    """

    rater: str
    worth: float
    among: tuple[int, ...] = ()


@dataclass(frozen=True)
class Response:
    """One candidate answer with its annotation: `score` is finite, higher is better.

    `ratings` are what single raters said of it, where the pool has them. So is `judge_score`: what a judge (a
    model) makes of it beside the annotation, with its standard error where that is known.
    """

    text: str
    score: float
    source: str = ""
    ratings: tuple[Rating, ...] = ()
    judge_score: float | None = None
    judge_score_se: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Text, score and source as plain values."""
        return {"text": self.text, "score": self.score, "source": self.source}


Compared: TypeAlias = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Example:
    """A prompt with its candidate responses, in the order in which the pool lists them.

    `compared` holds indices of responses (better, worse) where only some of them were compared; None where
    the scores say it all. Pairs that were never compared are not trained on.
    """

    prompt: Prompt
    responses: tuple[Response, ...]
    compared: Compared | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON, of all but what single raters and a judge said."""
        content = self.prompt.content
        turns = content if isinstance(content, str) else [dict(vars(turn)) for turn in content]
        prompt = {"content": turns, "domain": self.prompt.domain, "meta": self.prompt.meta}
        answers = [response.to_dict() for response in self.responses]
        pairs = {} if self.compared is None else {"compared": self.compared}
        return {"prompt": prompt, "responses": answers, **pairs}


class Examples(Sequence[Example]):
    """The train part of a pool, in memory or on disk: go through it, and keep no more of it than you need."""

    folder: Path | None = None
    """Where they lie, on one machine's disk; None where they are in memory, and travel whole."""

    @abstractmethod
    def keys(self) -> Iterator[str]:
        """`Prompt.key` of each example."""

    @abstractmethod
    def texts(self) -> Iterator[str]:
        """`Prompt.text` of each example."""

    @abstractmethod
    def sizes(self) -> Iterator[int]:
        """How many responses each example has."""

    @abstractmethod
    def take(self, rows: Sequence[int]) -> Examples:
        """The examples at these indices, in their order, in memory; quickest where the indices rise."""


class MemoryExamples(tuple[Example, ...], Examples):
    """A tuple of examples."""

    def keys(self) -> Iterator[str]:
        """See `Examples`."""
        return (example.prompt.key for example in self)

    def texts(self) -> Iterator[str]:
        """See `Examples`."""
        return (example.prompt.text for example in self)

    def sizes(self) -> Iterator[int]:
        """See `Examples`."""
        return (len(example.responses) for example in self)

    def take(self, rows: Sequence[int]) -> MemoryExamples:
        """See `Examples`."""
        return MemoryExamples(self[row] for row in rows)


@dataclass(frozen=True)
class Pool:
    """All that a study may draw on. `train` and `held_out` share no prompt (see `Prompt.guard`)."""

    name: str
    train: Examples
    held_out: tuple[Example, ...]
    description: str = ""
