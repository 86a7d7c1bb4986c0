"""Between whoever has work and the workers that do it: a Ray actor, no more."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any


class Mailbox:
    """Pieces of work and what came of them, both by number, counted from 0.

    Every worker of a group reads the same piece under the same number, so that they all agree on what is
    done next, and on that nothing is: None.
    """

    def __init__(self) -> None:
        self._work: dict[int, asyncio.Future[Any]] = {}
        self._outcomes: dict[int, asyncio.Future[Any]] = {}
        self._posted = self._delivered = -1
        self._dismissed = False
        self._gone = asyncio.Event()
        self._gone.set()

    async def present(self, yes: bool) -> None:
        """Note that workers are called, or that their run has ended and given back what it held."""
        if yes:
            self._gone.clear()
        else:
            self._gone.set()

    async def dismiss(self, idle_timeout_s: float) -> None:
        """Let the workers go once they have nothing to do; wait for the end of those who have nothing now."""
        self._dismissed = True
        for place in self._work.values():
            if not place.done():
                place.set_result(None)
        if self._posted <= self._delivered:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), idle_timeout_s)

    async def next(self) -> int:
        """The number that workers who have just come begin with: what is not done, or what comes after."""
        return max(self._posted, self._delivered + 1)

    async def post(self, number: int, work: Any) -> bool:
        """Leave a piece of work; False where nobody comes for that number any more."""
        place = _place(self._work, number)
        if place.done():
            return False
        place.set_result(work)
        self._posted = number
        return True

    async def work(self, number: int, idle_timeout_s: float) -> Any:
        """That piece of work; None, for all who ask for it, once one has waited `idle_timeout_s` seconds."""
        place = _place(self._work, number)
        await asyncio.wait([place], timeout=0 if self._dismissed else idle_timeout_s)
        if not place.done():
            place.set_result(None)
        return place.result()

    async def deliver(self, number: int, outcome: Any) -> None:
        """Leave what came of it; of several deliveries the first counts."""
        place = _place(self._outcomes, number)
        if not place.done():
            place.set_result(outcome)
            self._delivered = number

    async def outcome(self, number: int) -> Any:
        """Wait for what comes of it."""
        found = await _place(self._outcomes, number)
        self._outcomes.pop(number, None)
        self._work.pop(number - 1, None)  # this one may still be read by a worker that is behind
        return found


def _place(places: dict[int, asyncio.Future[Any]], number: int) -> asyncio.Future[Any]:
    return places.setdefault(number, asyncio.get_running_loop().create_future())
