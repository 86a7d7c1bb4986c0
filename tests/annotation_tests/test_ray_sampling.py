"""Ray Data's ways to sample: two workers give one process's texts; vLLM's stage as far as a CPU goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.paths import ROOT

from annotation.config import ModelSource, SamplingConfig
from annotation.sampling.local import LocalSampler
from annotation.sampling.ray_data import RaySampler, asked, drawn, vllm_processor
from annotation.sampling.sampler import Drawn, Failed, Request
from pools.types import Prompt

SAMPLING = SamplingConfig(max_tokens=6, temperature=1.0, top_p=0.9, stop=("END",), system_prompt="Be brief.")


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    import ray

    ray.init(
        num_cpus=3, include_dashboard=False, log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}},
    )  # fmt: skip
    yield ray
    ray.shutdown()


@pytest.mark.ray
@pytest.mark.slow
def test_two_workers_give_the_texts_of_one_process(ray: Any, model: Path) -> None:
    source = ModelSource(name=str(model), batch=4, dtype="fp32")
    requests = [Request(Prompt(f"Prompt {i // 4}"), i) for i in range(24)]
    units = [requests[start : start + 4] for start in range(0, 24, 4)]
    alone = dict(LocalSampler(source, SAMPLING).sample(units))
    shared = dict(RaySampler(source.model_copy(update={"workers": 2}), SAMPLING).sample(units))
    texts = [
        [[one.text for one in found[n] if isinstance(one, Drawn)] for n in range(6)]
        for found in (alone, shared)
    ]
    assert texts[0] == texts[1] and all(len(unit) == 4 for unit in texts[0])


@pytest.mark.ray
@pytest.mark.slow
def test_the_vllm_processor_is_built(ray: Any, model: Path) -> None:
    source = ModelSource(name=str(model), engine="vllm", workers=2, gpus_per_worker=1, batch=16)
    processor = vllm_processor(source, SAMPLING)
    assert "vLLMEngineStage" in processor.list_stage_names()


def test_rows_for_vllm_hold_turns_and_settings() -> None:
    row = asked(3, Request(Prompt("Hi"), 2**31 + 5), SAMPLING)
    assert row["number"] == 3
    assert [turn["role"] for turn in row["messages"]] == ["system", "user"]
    expected = {"temperature": 1.0, "top_p": 0.9, "max_tokens": 6, "seed": 5, "stop": ["END"]}
    assert row["sampling_params"] == expected


def test_rows_from_vllm_become_results() -> None:
    row = {"number": 0, "generated_text": " yes \n", "num_input_tokens": 4, "num_generated_tokens": 6}
    assert drawn(row, SAMPLING) == Drawn("yes", 4, 6, truncated=True)
    assert drawn({"number": 0, "__inference_error__": "too long"}, SAMPLING) == Failed("too long")
