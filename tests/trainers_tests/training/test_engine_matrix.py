"""Training takes the same steps however it is cut: into micro-batches, over workers, by ZeRO, or by path."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from support.paths import PYTHONPATH
from support.tiny_models import tiny_llama
from transformers import AutoModelForCausalLM

from trainers.config.algorithm import LOSSES

HERE = Path(__file__).parent
WHOLE, CUT = 10_000, 64
Case = dict[str, Any]
Result = dict[str, Any]


def case(algorithm: str, path: str, stage: int, tokens: int = CUT, **trainer: Any) -> Case:
    base = {
        "algorithm": {"name": algorithm},
        "steps": 2,
        "batch_prompts": 3,
        "micro_batch_tokens": tokens,
        "learning_rate": 1e-2,
        "schedule": "constant",
        "warmup_fraction": 0.0,
        "dtype": "fp32",
        "zero_stage": stage,
    }
    return {"path": path, "trainer": {**base, **trainer}}


MATRIX = [case(*place) for place in product(LOSSES, ("segments", "plain"), range(4))]
LORA = {"lora": {"rank": 2, "target_modules": ["q_proj", "down_proj"]}}
VARIANTS = [
    case("pro", "mask", 1),
    case("pro", "flex", 3, activation_checkpointing=True),
    case("pro", "segments", 3, activation_checkpointing=True),
    case("pro", "segments", 1, offload="optimizer"),
    case("pro", "segments", 3, offload="all"),
]
ADAPTED = [case("dpo", "segments", stage, **LORA) for stage in range(4)]
REFERENCES = [case(name, "plain", 1, WHOLE) for name in LOSSES]
OFFLOADS = [(0, "none"), (1, "none"), (2, "none"), (3, "none"), (1, "optimizer"), (3, "all")]
HALF = [case("sft", "segments", stage, dtype="bf16", offload=what) for stage, what in OFFLOADS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("matrix")


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[str, dict[int, Result]]:
    """What each case gave, by its JSON text and by the number of workers."""
    tiny_llama().save_pretrained(folder / "model")
    together = [*MATRIX, *VARIANTS, *ADAPTED, *HALF]
    alone = [*REFERENCES, *together]
    (folder / "cases.json").write_text(json.dumps([alone, together]))
    environment = {**os.environ, "PYTHONPATH": PYTHONPATH}
    environment |= {"OMP_NUM_THREADS": "1", "LOCAL_RANK": "0", "DS_ACCELERATOR": "cpu"}
    command = [sys.executable, str(HERE / "engine_worker.py"), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, done.stderr[-5000:]
    found: dict[str, dict[int, Result]] = {json.dumps(each): {} for each in alone}
    for name, cases, workers in (("alone-0", alone, 1), ("alone-1", alone, 1), ("together", together, 2)):
        for number, result in json.loads((folder / f"{name}.json").read_text()).items():
            found[json.dumps(cases[int(number)])][workers] = result
    return found


def assert_same(got: Result, want: Result, label: object) -> None:
    assert got["losses"] == pytest.approx(want["losses"], rel=1e-4, abs=1e-5), label
    if None not in got["norms"]:  # without ZeRO and in float32 DeepSpeed clips but keeps no norm
        assert got["norms"] == pytest.approx(want["norms"], rel=1e-3), label
    assert got["answers"] == want["answers"], label


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", LOSSES)
def test_every_path_and_stage_takes_the_same_steps(
    name: str, workers: int, results: dict[str, dict[int, Result]]
) -> None:
    want = results[json.dumps(case(name, "plain", 1, WHOLE))][1]
    assert all(norm > 0 for norm in want["norms"])
    for each in [*MATRIX, *VARIANTS]:
        if each["trainer"]["algorithm"]["name"] == name:
            assert_same(results[json.dumps(each)][workers], want, (each, workers))


@pytest.mark.slow
def test_adapters_alone_are_trained_alike_under_every_stage(results: dict[str, dict[int, Result]]) -> None:
    want = results[json.dumps(ADAPTED[1])][1]
    whole = results[json.dumps(case("dpo", "segments", 1))][1]
    assert want["trained"] == 8 < whole["trained"], "two factors, two kinds of layer, two layers"
    assert want["losses"][0] == pytest.approx(whole["losses"][0], rel=1e-5), "new adapters change nothing"
    assert want["losses"][-1] < want["losses"][0]
    for each in ADAPTED:
        for workers in (1, 2):
            assert_same(results[json.dumps(each)][workers], want, (each, workers))


@pytest.mark.slow
def test_half_precision_follows_the_whole(results: dict[str, dict[int, Result]]) -> None:
    want = results[json.dumps(case("sft", "plain", 1, WHOLE))][1]
    assert want["losses"][-1] < want["losses"][0] - 0.1, "guards all: an engine that never learns is alike"
    for each, workers in product(HALF, (1, 2)):
        got = results[json.dumps(each)][workers]
        assert got["losses"][0] == pytest.approx(want["losses"][0], rel=2e-2), (each, workers)
        assert got["norms"] == pytest.approx(want["norms"], rel=5e-2), (each, workers)
        assert got["losses"][-1] < got["losses"][0], (each, workers)
        if each["trainer"]["zero_stage"]:  # which clips in bf16, where it is 0
            first = results[json.dumps(HALF[1])][workers]
            assert got["losses"] == pytest.approx(first["losses"], rel=1e-5), (each, workers)
            assert got["norms"] == pytest.approx(first["norms"], rel=1e-5), (each, workers)


@pytest.mark.slow
def test_a_trial_with_adapters_matched_by_tokens(results: dict[str, dict[int, Result]], folder: Path) -> None:
    trial = json.loads((folder / "trial.json").read_text())
    assert 900 <= trial["trained_tokens"] < 1.3 * 900, (
        "some batches are longer than the average, some shorter"
    )
    assert not any(letter in answer for answer in trial["answers"] for letter in "ea")
    assert any(trial["answers"])
    telemetry = trial["telemetry"]
    assert telemetry["responses_truncated"] > 0 and telemetry["rankings"] + telemetry["rankings_dropped"] == 9
    assert trial["notes"] == []
    merged = AutoModelForCausalLM.from_pretrained(trial["policy"])
    base = AutoModelForCausalLM.from_pretrained(folder / "trial-model").state_dict()
    moved = {name for name, value in merged.state_dict().items() if not torch.equal(value, base[name])}
    assert moved and all("_proj.weight" in name for name in moved), moved
