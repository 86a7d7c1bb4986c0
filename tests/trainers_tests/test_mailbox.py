"""What a group of workers and whoever has work for them agree on."""

from __future__ import annotations

import asyncio

from trainers.workers.mailbox import Mailbox


def test_all_workers_get_the_same_work_and_the_first_outcome_counts() -> None:
    async def story() -> None:
        box = Mailbox()
        asked = [asyncio.create_task(box.work(0, 60)) for _ in range(2)]
        assert await box.post(0, "train")
        assert await asyncio.gather(*asked) == ["train", "train"]
        await box.deliver(0, "done")
        await box.deliver(0, "done again")
        assert await box.outcome(0) == "done"

    asyncio.run(story())


def test_workers_that_waited_too_long_all_leave_and_are_not_given_that_number() -> None:
    async def story() -> None:
        box = Mailbox()
        assert await box.work(0, 0.01) is None
        assert not await box.post(0, "too late")
        assert await box.work(0, 60) is None  # a worker that came later leaves with the others
        assert await box.post(1, "train")
        assert await box.next() == 1  # where the next workers begin

    asyncio.run(story())


def test_new_workers_begin_with_what_is_not_done() -> None:
    async def story() -> None:
        box = Mailbox()
        assert await box.next() == 0
        await box.post(0, "train")
        assert await box.next() == 0  # the workers before were lost on the way
        await box.deliver(0, "done")
        assert await box.next() == 1
        await box.post(3, "train")  # 1 and 2 were given up
        assert await box.next() == 3

    asyncio.run(story())


def test_whoever_has_nothing_to_do_is_dismissed_and_seen_to_go() -> None:
    async def story() -> None:
        box = Mailbox()
        await box.present(True)
        await box.post(0, "train")
        await box.dismiss(60)  # busy: not waited for
        assert await box.work(0, 60) == "train"
        await box.deliver(0, "done")
        assert await box.work(1, 60) is None
        waiting = asyncio.create_task(box.dismiss(60))
        await asyncio.sleep(0)
        assert not waiting.done()
        await box.present(False)
        await waiting

    asyncio.run(story())
