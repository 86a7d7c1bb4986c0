"""What a trial trains on: the prompts of its order, the responses chosen, the labels of those who judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support import tiny_trial

from pools.raters import RaterLabels
from pools.subset import draw
from pools.two_kinds import ORDER, two_kinds
from pools.types import Example, MemoryExamples, Pool, Prompt, Response
from trainers.spec import TrialJob
from trainers.trial.job import labelled

POOL = Pool(
    "p",
    MemoryExamples(
        Example(
            Prompt(f"prompt {i}"),
            tuple(Response(f"answer {i} {j * 7}", j / 4, "", (), (i * j) % 5 / 4) for j in range(5)),
        )
        for i in range(8)
    ),
    (),
)
ORDERS = [5, 2, 7, 0]


def job(**fields: Any) -> TrialJob:
    return TrialJob(setup=tiny_trial.setup(Path("unused")), responses=3, orders={4: ORDERS}, **fields)


def test_choice_raters_and_kinds_are_those_of_the_job() -> None:
    plain = labelled(job(), POOL, 4)
    assert [one.prompt.text for one in plain] == [f"prompt {i}" for i in ORDERS]
    assert plain == draw(POOL.train, prompts=4, responses=3, seed=4, order=ORDERS)
    far = draw(POOL.train, prompts=4, responses=3, seed=4, order=ORDERS, choice="far")
    assert labelled(job(choice="far"), POOL, 4) == far != plain
    raters = RaterLabels(3, 0.5)
    assert labelled(job(labels=raters), POOL, 4) == [raters.of(one, 4) for one in plain]
    assert labelled(job(human_share=0.5), POOL, 4) == two_kinds(plain, 0.5, ORDER, 4)
    assert labelled(job(human_share=0.5, labels=raters), POOL, 4) == two_kinds(plain, 0.5, raters, 4)
