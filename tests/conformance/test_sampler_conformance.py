"""What `Sampler` promises, asked of every implementation that runs without a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.stub_server import Stub, serving

from annotation.config import ModelSource, SamplingConfig
from annotation.sampling.endpoint import EndpointSampler
from annotation.sampling.local import LocalSampler
from annotation.sampling.sampler import Drawn, MemorySampler, Request, Sampler, Unit
from pools.types import Message, Prompt

PROMPTS = [Prompt("Hi"), Prompt("Name a colour of the rainbow."), Prompt((Message("user", "Bye"),))]
SAMPLING = SamplingConfig(max_tokens=6, temperature=1.0, top_p=1.0)


@pytest.fixture(params=["memory", "local", "endpoint"])
def sampler(request: pytest.FixtureRequest, model: Path) -> Iterator[Sampler]:
    if request.param == "memory":
        yield MemorySampler(lambda prompt, seed: f" {prompt.text} {seed} ")
    elif request.param == "local":
        yield LocalSampler(ModelSource(name=str(model), batch=4, dtype="fp32"), SAMPLING)
    else:
        with serving(Stub(lambda body: f" {body['messages'][-1]['content']} {body['seed']}")) as stub:
            yield EndpointSampler(ModelSource(endpoint=stub.url), SAMPLING)


def units(sampler: Sampler, seeds: int = 4) -> list[Unit]:
    requests = [Request(prompt, seed) for prompt in PROMPTS for seed in range(seeds)]
    return [requests[start : start + sampler.unit] for start in range(0, len(requests), sampler.unit)]


def texts(sampler: Sampler, given: list[Unit]) -> list[list[str]]:
    found = dict(sampler.sample(given))
    results = [found[number] for number in range(len(given))]
    assert [len(each) for each in results] == [len(unit) for unit in given]
    assert all(isinstance(one, Drawn) for each in results for one in each)
    return [[one.text for one in each if isinstance(one, Drawn)] for each in results]


def test_one_result_for_each_request(sampler: Sampler) -> None:
    for unit in texts(sampler, units(sampler)):
        assert all(text == text.strip() for text in unit)


def test_the_same_unit_gives_the_same_texts_wherever_it_stands(sampler: Sampler) -> None:
    given = units(sampler)
    straight = texts(sampler, given)
    assert texts(sampler, given[::-1]) == straight[::-1]
    assert texts(sampler, given[1:2]) == straight[1:2]


def test_seeds_tell_responses_to_one_prompt_apart(sampler: Sampler) -> None:
    flat = [text for unit in texts(sampler, units(sampler)) for text in unit]
    assert len(set(flat[:4])) > 1


def test_no_units_no_results(sampler: Sampler) -> None:
    assert list(sampler.sample([])) == []


def test_tokens_are_counted(sampler: Sampler) -> None:
    for _, results in sampler.sample(units(sampler)):
        for one in results:
            assert isinstance(one, Drawn) and one.tokens_in > 0 and one.tokens_out >= 0
