"""A worker pool and its workers agree on tasks, outcomes and the end."""

from __future__ import annotations

import asyncio

from trainers.workers.mailbox import Mailbox


def test_all_workers_get_the_same_work_and_the_first_outcome_counts() -> None:
    async def story() -> None:
        box = Mailbox()
        asked = [asyncio.create_task(box.task(0, 60)) for _ in range(2)]
        assert await box.post(0, "train")
        assert await asyncio.gather(*asked) == ["train", "train"]
        await box.deliver(0, "done")
        await box.deliver(0, "done again")
        assert await box.outcome(0) == "done"

    asyncio.run(story())


def test_workers_that_waited_too_long_all_exit_and_never_get_that_number() -> None:
    async def story() -> None:
        box = Mailbox()
        assert await box.task(0, 0.01) is None
        assert not await box.post(0, "too late")
        assert await box.task(0, 60) is None  # a worker that came later leaves with the others
        assert await box.post(1, "train")
        assert await box.first() == 1  # where the next workers begin

    asyncio.run(story())


def test_new_workers_begin_with_what_is_not_done() -> None:
    async def story() -> None:
        box = Mailbox()
        assert await box.first() == 0
        await box.post(0, "train")
        assert await box.first() == 0  # the workers before were lost on the way
        await box.deliver(0, "done")
        assert await box.first() == 1
        await box.post(3, "train")  # 1 and 2 were given up
        assert await box.first() == 3

    asyncio.run(story())


def test_workers_without_a_task_exit_when_stopped() -> None:
    async def story() -> None:
        box = Mailbox()
        await box.set_running(True)
        await box.post(0, "train")
        await box.stop(60)  # busy: not waited for
        assert await box.task(0, 60) == "train"
        await box.deliver(0, "done")
        assert await box.task(1, 60) is None
        waiting = asyncio.create_task(box.stop(60))
        await asyncio.sleep(0)
        assert not waiting.done()
        await box.set_running(False)
        await waiting

    asyncio.run(story())
