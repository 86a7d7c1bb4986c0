"""Order of prompts and learning rate: seeded, fair, and zero only after the last step."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainers.config.trainer import TrainerConfig
from trainers.training.schedule import batches, learning_rate_factor, total_steps


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 30), st.integers(0, 5))
def test_every_ranking_is_visited_once_before_any_again(count: int, size: int, steps: int, seed: int) -> None:
    visits = list(chain.from_iterable(batches(count, size=size, steps=steps, seed=seed)))
    assert len(visits) == size * steps
    for start in range(0, len(visits), count):
        assert max(Counter(visits[start : start + count]).values()) == 1


def test_seeds_decide_the_order() -> None:
    def visits(seed: int) -> list[list[int]]:
        return list(batches(50, size=5, steps=10, seed=seed))

    assert visits(1) == visits(1) != visits(2)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_the_learning_rate_warms_up_then_falls(schedule: str) -> None:
    config = TrainerConfig(warmup_fraction=0.2, schedule=schedule)  # type: ignore[arg-type]
    factors = [learning_rate_factor(step, config, 20) for step in range(20)]
    assert factors[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert all(0 < factor <= 1 for factor in factors)
    falling = factors[4:]
    assert falling == sorted(falling, reverse=True)
    assert (falling[-1] == 1.0) == (schedule == "constant")


class Sized:
    def __init__(self, tokens: int) -> None:
        self.tokens = tokens


RANKINGS = [Sized(tokens) for tokens in (10, 20, 60)]


@pytest.mark.parametrize(
    ("matching", "expected"),
    [
        ({"steps": 7}, 7),
        ({"matching": "epochs", "epochs": 2}, 3),  # 6 visits, two a step
        ({"matching": "epochs", "epochs": 0.1}, 1),
        ({"matching": "epochs", "epochs": 2.5}, 4),  # 7.5 visits
        ({"matching": "tokens", "tokens": 120}, 2),  # 60 tokens a step on average
        ({"matching": "tokens", "tokens": 121}, 3),
        ({"matching": "tokens", "tokens": 1}, 1),
    ],
)
def test_the_number_of_steps(matching: dict[str, object], expected: int) -> None:
    assert total_steps(TrainerConfig(batch_prompts=2, **matching), RANKINGS) == expected  # type: ignore[arg-type]


def test_decimal_epochs_are_counted_exactly() -> None:
    config = TrainerConfig(matching="epochs", epochs=0.1, batch_prompts=3)
    assert total_steps(config, [Sized(1)] * 30) == 1, "0.1 x 30 is 3, not a hair more"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"matching": "epochs"}, 'trainer.matching is "epochs", but trainer.epochs is not given'),
        ({"matching": "tokens", "epochs": 1}, "trainer.tokens|trainer.epochs is 1"),
        ({"tokens": 5}, 'trainer.tokens is 5, but trainer.matching is "steps"'),
    ],
)
def test_matching_and_its_amount_belong_together(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainerConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("matching", "visits", "words"),
    [
        ({"steps": 5, "batch_prompts": 4}, 20, "takes 5 steps"),
        ({"matching": "epochs", "epochs": 0.5}, 50, "visits each of its prompts 0.5 times"),
        ({"matching": "tokens", "tokens": 5000}, None, "encodes about 5,000 tokens"),
    ],
)
def test_the_report_can_say_what_is_matched(
    matching: dict[str, object], visits: int | None, words: str
) -> None:
    config = TrainerConfig(**matching)  # type: ignore[arg-type]
    assert config.visits(100) == visits
    assert words in config.matched
