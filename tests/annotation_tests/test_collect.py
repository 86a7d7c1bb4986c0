"""Collecting responses: different ones for each prompt, nothing drawn twice, the same after interruptions."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotation.journal import Journal, opened_journal
from annotation.sampling.collect import Collected, Collector, Writer
from annotation.sampling.sampler import Drawn, Failed, MemorySampler, Results, Sampler, Unit
from pools.types import Prompt

PROMPTS = [Prompt(f"Prompt {'word ' * (i % 5)}{i}") for i in range(11)]


def varied(prompt: Prompt, seed: int) -> str:
    """Five different texts a prompt, one of them empty."""
    return ["", "one", "two", "three", "four"][seed % 5] and f"{prompt.text}: {seed % 5}"


class Dying:
    """Another sampler that is killed after so many units."""

    def __init__(self, sampler: Sampler, units: int) -> None:
        self.unit, self._sampler, self._units = sampler.unit, sampler, units

    def sample(self, units: Iterable[Unit]) -> Iterator[tuple[int, Results]]:
        for done, result in enumerate(self._sampler.sample(units)):
            if done == self._units:
                raise KeyboardInterrupt
            yield result


def collect(journal: Journal, *samplers: Sampler, responses: int = 4, resample: int = 8) -> Collected:
    writers = [Writer(f"model {i}", f"identity {i}", sampler) for i, sampler in enumerate(samplers)]
    return Collector(PROMPTS, writers, journal, responses=responses, seed=1, resample=resample).collect()


def test_every_prompt_gets_different_responses(journal: Journal) -> None:
    sampler = MemorySampler(varied)
    collected = collect(journal, sampler, responses=3)
    assert [len({each.text for each in texts}) for texts in collected.responses] == [3] * len(PROMPTS)
    assert "" not in {each.text for texts in collected.responses for each in texts}
    assert collected.drawn == len(journal) == 33 + collected.redrawn > 33
    assert not collected.short and not collected.failed


def test_what_never_varies_comes_short_after_a_bounded_number_of_draws(journal: Journal) -> None:
    sampler = MemorySampler(lambda prompt, seed: "the same")
    collected = collect(journal, sampler, responses=3, resample=2)
    assert [len(texts) for texts in collected.responses] == [1] * len(PROMPTS) == [1] * len(collected.short)
    assert len(sampler.asked) == 11 * (3 + 2 + 2)


@settings(max_examples=12)  # each waits for the disk hundreds of times
@given(deaths=st.lists(st.integers(0, 12), max_size=5), unit=st.sampled_from([1, 3, 8]))
def test_interrupted_or_not_the_responses_are_the_same(
    tmp_path_factory: pytest.TempPathFactory, deaths: list[int], unit: int
) -> None:
    folder = tmp_path_factory.mktemp("journals")
    with opened_journal(folder / "whole") as whole:
        undisturbed = collect(whole, MemorySampler(varied, unit=unit))
    sampler = MemorySampler(varied, unit=unit)
    for units in deaths:
        with opened_journal(folder / "torn") as torn:
            try:
                collect(torn, Dying(sampler, units))
            except KeyboardInterrupt:
                continue
    with opened_journal(folder / "torn") as torn:
        assert collect(torn, sampler).responses == undisturbed.responses
        assert len(torn) == undisturbed.drawn


def test_a_second_run_draws_nothing(journal: Journal) -> None:
    first = collect(journal, MemorySampler(varied))
    again = MemorySampler(varied)
    assert collect(journal, again).responses == first.responses
    assert not again.asked


def test_more_responses_later_keep_those_drawn_before(journal: Journal) -> None:
    def numbered(prompt: Prompt, seed: int) -> str:
        return str(seed)

    few = collect(journal, MemorySampler(numbered), responses=3)
    sampler = MemorySampler(numbered)
    more = collect(journal, sampler, responses=5)
    assert [texts[:3] for texts in more.responses] == few.responses
    assert len(journal) == 11 * 5


def test_models_share_the_responses_evenly_and_say_which_are_theirs(journal: Journal) -> None:
    samplers = [MemorySampler(lambda prompt, seed, i=i: f"{i} {seed}") for i in range(3)]  # type: ignore[misc]
    collected = collect(journal, *samplers, responses=4)
    for texts in collected.responses:
        assert all(each.source == f"model {each.text[0]}" for each in texts)
        counts = [sum(each.source == f"model {i}" for each in texts) for i in range(3)]
        assert sorted(counts) == [1, 1, 2]
    firsts = {texts[0].source for texts in collected.responses}
    assert len(firsts) > 1, "the same model always begins"


def test_a_repeat_of_another_models_response_is_drawn_again(journal: Journal) -> None:
    rng = random.Random(0)
    samplers = [MemorySampler(lambda prompt, seed: str(rng.randrange(6))) for _ in range(2)]
    collected = collect(journal, *samplers, responses=4, resample=20)
    assert all(len({each.text for each in texts}) == 4 for texts in collected.responses)


def test_what_fails_is_named_paid_for_and_tried_again_next_time(tmp_path: Path) -> None:
    class Failing(MemorySampler):
        def sample(self, units: Iterable[Unit]) -> Iterator[tuple[int, Results]]:
            for number, results in super().sample(units):
                yield number, [Failed("too long", 0.5) if number == 3 else each for each in results]

    def numbered(prompt: Prompt, seed: int) -> str:
        return str(seed)

    with opened_journal(tmp_path / "j") as journal:
        collected = collect(journal, Failing(numbered, unit=1), responses=2)
        assert list(collected.failed.values()) == ["too long"]
        assert collected.short == list(collected.failed)
        assert journal.cost == 0.5
    with opened_journal(tmp_path / "j") as journal:
        sampler = MemorySampler(numbered, unit=1)
        assert not collect(journal, sampler, responses=2).failed
        assert len(sampler.asked) == 1


def test_units_hold_prompts_of_like_lengths_whatever_the_order(journal: Journal) -> None:
    lengths: list[list[int]] = []

    class Noting(MemorySampler):
        def sample(self, units: Iterable[Unit]) -> Iterator[tuple[int, Results]]:
            for number, unit in enumerate(units):
                lengths.append([len(request.prompt.text) for request in unit])
                yield number, [Drawn(str(request.seed), 1, 1) for request in unit]

    collect(journal, Noting(varied, unit=8), responses=4)
    flat = [length for unit in lengths for length in unit]
    assert flat == sorted(flat, reverse=True)
    assert [len(unit) for unit in lengths] == [8] * 5 + [4]
