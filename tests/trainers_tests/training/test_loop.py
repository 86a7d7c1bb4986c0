"""The loop's own promises: equally many micro-batches on every worker, and a clear end at a bad loss."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from support.fake_engine import FakeEngine
from support.tiny_models import random_rankings

from base.errors import NonRetryableError
from trainers.algorithms.base import LossOutput
from trainers.config.trainer import TrainerConfig
from trainers.training.loop import micro_batches, train
from trainers.workers.local import LocalContext

CONFIG = TrainerConfig(steps=3, batch_prompts=4, micro_batch_tokens=64)


@pytest.mark.parametrize("world", [1, 2, 3])
def test_every_worker_makes_equally_many_passes_and_no_ranking_is_lost(world: int) -> None:
    rankings = random_rankings(0, (4, 2, 3, 4, 2, 2, 3))
    work = [
        micro_batches(rankings, CONFIG, LocalContext(rank=rank, world_size=world)) for rank in range(world)
    ]
    assert len({len(batches) for batches in work}) == 1
    counted = sum(batch.rankings for batches in work for batch, weight in batches if weight)
    assert counted == len(rankings)


def test_a_loss_that_is_not_finite_ends_the_training_by_step_and_prompts() -> None:
    losses = iter([1.0, float("nan")])

    class Failing:
        def loss(self, logps: Any, batch: Any) -> LossOutput:
            return LossOutput(torch.tensor(next(losses)), {})

    config = CONFIG.model_copy(update={"micro_batch_tokens": 4096})
    context = LocalContext()
    rankings = [replace(ranking, key=f"p{i}") for i, ranking in enumerate(random_rankings(0, (2,) * 5))]
    with pytest.raises(
        NonRetryableError, match=r"loss is nan at step 2 of 3, on the prompts p\d, p\d, p\d, p\d$"
    ):
        train(FakeEngine(), rankings, Failing(), config, seed=0, context=context)  # type: ignore[arg-type]
    assert [row["step"] for row in context.updates] == [1.0]


@pytest.mark.parametrize("path", ["plain", "segments"])
def test_only_the_plain_path_pads(path: str) -> None:
    class Constant:
        def loss(self, logps: Any, batch: Any) -> LossOutput:
            return LossOutput(torch.tensor(1.0), {})

    engine, rankings = FakeEngine(path=path), random_rankings(0, (3, 2, 2, 4))
    training = train(engine, rankings, Constant(), CONFIG, seed=0, context=LocalContext())  # type: ignore[arg-type]
    assert training.tokens == 3 * sum(ranking.tokens for ranking in rankings)
    assert (training.telemetry()["padding"] > 0.05) == (path == "plain")
    assert (training.padded == training.tokens) == (path == "segments")


def test_only_the_last_micro_batch_of_a_step_is_a_boundary() -> None:
    class Constant:
        def loss(self, logps: Any, batch: Any) -> LossOutput:
            return LossOutput(torch.tensor(1.0), {})

    engine, rankings = FakeEngine(), random_rankings(0, (4, 4, 4, 4))
    cuts = len(micro_batches(rankings, CONFIG, LocalContext()))
    train(engine, rankings, Constant(), CONFIG, seed=0, context=LocalContext())  # type: ignore[arg-type]
    assert cuts > 1 and engine.calls.count("step") == 3
    first = engine.calls[: engine.calls.index("step")]
    assert first[0::3] == ["within"] * (len(first) // 3 - 1) + ["boundary"]
    assert first[1::3] == ["forward"] * (len(first) // 3)
