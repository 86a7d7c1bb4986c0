"""The queue between a worker pool and its workers: a Ray actor."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any


class Mailbox:
    """Tasks and their outcomes, both numbered from 0.

    Every worker of a group reads the same task under the same number, so all of them agree on what comes
    next, and on when nothing does: None.
    """

    def __init__(self) -> None:
        self._tasks: dict[int, asyncio.Future[Any]] = {}
        self._outcomes: dict[int, asyncio.Future[Any]] = {}
        self._posted = self._delivered = -1
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def set_running(self, running: bool) -> None:
        """Record that a run of workers starts, or that it has ended and freed its resources."""
        if running:
            self._idle.clear()
        else:
            self._idle.set()

    async def stop(self, timeout_s: float) -> None:
        """End the workers after their task; if they have none, wait `timeout_s` at most until they exit."""
        self._stopping = True
        for task in self._tasks.values():
            if not task.done():
                task.set_result(None)
        if self._posted <= self._delivered:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), timeout_s)

    async def first(self) -> int:
        """The number that new workers start with: the unfinished task, or the one after the last finished."""
        return max(self._posted, self._delivered + 1)

    async def post(self, number: int, task: Any) -> bool:
        """Post a task; False where the workers have stopped waiting for that number."""
        future = _future(self._tasks, number)
        if future.done():
            return False
        future.set_result(task)
        self._posted = number
        return True

    async def task(self, number: int, idle_timeout_s: float) -> Any:
        """Wait for that task; None, for all workers, once one of them has waited `idle_timeout_s` seconds."""
        future = _future(self._tasks, number)
        await asyncio.wait([future], timeout=0 if self._stopping else idle_timeout_s)
        if not future.done():
            future.set_result(None)
        return future.result()

    async def deliver(self, number: int, outcome: Any) -> None:
        """Store a task's outcome; the first delivery counts."""
        future = _future(self._outcomes, number)
        if not future.done():
            future.set_result(outcome)
            self._delivered = number

    async def outcome(self, number: int) -> Any:
        """Wait for that task's outcome."""
        outcome = await _future(self._outcomes, number)
        self._outcomes.pop(number, None)
        self._tasks.pop(number - 1, None)  # a slower worker may still read the current one
        return outcome


def _future(futures: dict[int, asyncio.Future[Any]], number: int) -> asyncio.Future[Any]:
    return futures.setdefault(number, asyncio.get_running_loop().create_future())
