"""What every sampler promises, the results it gives, and its twin in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from pools.types import Message, Prompt


@dataclass(frozen=True)
class Request:
    """One response to be drawn: to which prompt, and by which seed (below 2**63)."""

    prompt: Prompt
    seed: int


@dataclass(frozen=True)
class Drawn:
    """A response without white space around it, and the tokens read and written for it.

    `truncated`: it came to the most tokens that were allowed, and would have gone on. `cost` is money;
    `seconds` is its part of the time in which its sampler works on several at once.
    """

    text: str
    tokens_in: int
    tokens_out: int
    truncated: bool = False
    cost: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True)
class Failed:
    """No answer, why, and what that has cost nevertheless (money)."""

    reason: str
    cost: float = 0.0


Unit: TypeAlias = Sequence[Request]
Results: TypeAlias = Sequence[Drawn | Failed]


class Sampler(Protocol):
    """Draws responses in units of up to `unit` requests.

    Within a unit, a response may depend on the others by rounding; it depends on nothing outside of it, so
    that the same unit gives the same texts wherever and whenever it is drawn (a remote model may not keep
    that). The units are taken one by one, no sooner than they can be worked on.
    """

    @property
    def unit(self) -> int:
        """The most requests of a unit."""
        ...

    def sample(self, units: Iterable[Unit]) -> Iterator[tuple[int, Results]]:
        """Each unit's number, counted from 0, and one result for each of its requests, as units are done.

        Raises ApportionError where no further unit can be drawn; those that came before are good.
        """
        ...


class MemorySampler:
    """Answers with what `answer(prompt, seed)` returns, a token a word: the twin that tests use."""

    def __init__(self, answer: Callable[[Prompt, int], str], *, unit: int = 4) -> None:
        self.unit = unit
        self._answer = answer
        self.asked: list[Request] = []

    def sample(self, units: Iterable[Unit]) -> Iterator[tuple[int, Results]]:
        """See `Sampler.sample`."""
        for number, unit in enumerate(units):
            self.asked += unit
            yield number, [self._drawn(request) for request in unit]

    def _drawn(self, request: Request) -> Drawn:
        text = self._answer(request.prompt, request.seed).strip()
        return Drawn(text, len(request.prompt.text.split()), len(text.split()))


def with_system(prompt: Prompt, system: str) -> Prompt:
    """The prompt with a system turn in front, unless it has one or `system` is empty."""
    turns = turns_of(prompt)
    if not system or turns[0].role == "system":
        return prompt
    return Prompt((Message("system", system), *turns), prompt.domain, prompt.meta)


def turns_of(prompt: Prompt) -> tuple[Message, ...]:
    """The prompt as turns: a text is one of the user's."""
    return (Message("user", prompt.content),) if isinstance(prompt.content, str) else prompt.content


def messages_of(prompt: Prompt) -> list[dict[str, str]]:
    """The turns as chat endpoints and templates take them."""
    return [{"role": turn.role, "content": turn.content} for turn in turns_of(prompt)]
