"""vLLM in place of our own generation: the same answers, also after the weights changed in memory.

vLLM wants another release of transformers than the project's tests, so what runs it is a process of a Python
that APPORTION_VLLM_PYTHON names (docs/checkpoints.md says how that is made).
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from support.paths import PYTHONPATH
from support.tiny_models import tiny_llama
from support.tiny_trial import save_model, untimed

from trainers.config.trainer import LoraConfig
from trainers.generation.generate import generate
from trainers.generation.vllm import TOLERANCE, EngineSettings, distance, sizes, weights_of
from trainers.models import load_policy, resolve_model

PYTHON = os.environ.get("APPORTION_VLLM_PYTHON", "")
HERE = Path(__file__).parent
EMBEDDED = "embedded:smollm2-135m"
HEADS_OF_32 = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}  # as vLLM's kernels ask

vllm_only = pytest.mark.skipif(
    not PYTHON, reason="vLLM is NOT tested: APPORTION_VLLM_PYTHON names no Python that has it"
)


@pytest.mark.slow
@vllm_only
def test_the_engine_answers_as_our_own_generation(tmp_path: Path) -> None:
    paths = {
        "tiny": save_model(tmp_path / "tiny", **HEADS_OF_32),
        "tied": save_model(tmp_path / "tied", **HEADS_OF_32, tie_word_embeddings=True),
        "embedded": resolve_model(EMBEDDED),
    }
    answered = tmp_path / "answered.json"
    done = subprocess.run(
        [PYTHON, str(HERE / "vllm_worker.py"), str(answered), *map(str, paths.values())],
        env={**os.environ, "PYTHONPATH": PYTHONPATH, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(answered.read_text())
    for name, path in paths.items():
        cases = found[str(path)]
        for case in cases.values():
            assert case["theirs"] == case["ours"], name
        first, changed, stopped = (cases[case]["ours"] for case in ("as it is", "changed", "stopped"))
        assert first != changed, f"{name}: stale weights would pass"
        assert any(len(a) < len(b) for a, b in zip(stopped, changed, strict=True)), f"{name}: nothing stops"
    ends = [len(ids) for ids in found[str(paths["embedded"])]["as it is"]["ours"]]
    assert min(ends) < max(ends), "no answer ends by itself: this shows nothing of ends"


@pytest.mark.slow
@vllm_only
@pytest.mark.parametrize("world", [1, 2])
def test_a_trial_ends_as_it_does_with_our_own_generation(tmp_path: Path, world: int) -> None:
    """Trainings on one worker and on two, each with an engine of its own, whole models and adapters."""
    if subprocess.run([PYTHON, "-c", "import deepspeed, peft"], capture_output=True).returncode:
        pytest.skip("a trial with vLLM is NOT tested: its Python lacks deepspeed or peft")
    save_model(tmp_path / "model", **HEADS_OF_32)
    shared = {**os.environ, "PYTHONPATH": PYTHONPATH, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [PYTHON, str(HERE / "vllm_trial_worker.py"), str(rank), str(world), str(tmp_path)],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(world)
    ]
    said = [process.communicate(timeout=1500)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(text[-3000:] for text in said)
    found = json.loads((tmp_path / "found.json").read_text())
    for case, engines in found.items():
        assert untimed(engines["vllm"]) == untimed(engines["own"]), case
    whole, adapters = (found[case]["own"]["answers"] for case in ("whole", "adapters"))
    assert whole != adapters, "one base model's answers to both would pass"


def test_weights_have_the_names_of_a_checkpoint(tmp_path: Path) -> None:
    path = str(save_model(tmp_path, tie_word_embeddings=True))
    model = load_policy(path, dtype="fp32")
    once, twice = dict(weights_of(model, tied=True)), dict(weights_of(model, tied=False))
    assert once.keys() == dict(model.named_parameters()).keys()
    assert twice.keys() - once.keys() == {"lm_head.weight"}
    assert twice["lm_head.weight"].data_ptr() == once["model.embed_tokens.weight"].data_ptr()


def test_adapters_are_merged_into_copies(tmp_path: Path) -> None:
    path = str(save_model(tmp_path))
    model: Any = load_policy(path, dtype="fp32", lora=LoraConfig(rank=4))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = dict(weights_of(model, tied=True))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    merged = dict(model.merge_and_unload().named_parameters())
    assert found.keys() == merged.keys()
    for name, value in merged.items():
        torch.testing.assert_close(found[name], value)
    base = dict(load_policy(path, dtype="fp32").named_parameters())
    assert not torch.equal(
        found["model.layers.0.mlp.up_proj.weight"], base["model.layers.0.mlp.up_proj.weight"]
    )


def test_answers_of_other_weights_are_far_from_what_the_model_would_say() -> None:
    """That is how weights which vLLM did not take are noticed."""
    model, other = tiny_llama(), tiny_llama(initializer_range=0.01)
    prompt = [5, 6, 7, 8]
    ours, theirs = (
        generate(each, [prompt], max_new_tokens=12, eos_ids=[2], pad_id=0)[0] for each in (model, other)
    )
    with torch.no_grad():
        assert distance(model, prompt, ours) < 1e-5
        assert distance(model, prompt, theirs) > 4 * TOLERANCE
        chances = model(torch.tensor([[*prompt, ours[0]]])).logits[0, -1].log_softmax(-1)
        expected = float(chances.max() - chances[9]) / 2
        assert distance(model, prompt, [ours[0], 9]) == pytest.approx(expected, rel=1e-4)


def test_the_cache_has_room_for_the_tokens_of_the_configuration(tmp_path: Path) -> None:
    """Two layers of two groups, eight wide, keys and values: 64 numbers a token."""
    path = str(save_model(tmp_path))
    assert sizes(EngineSettings(path=path, dtype="fp32", longest=64, cached=1000)) == (64, 64 * 4 * 1256)
    beyond = EngineSettings(path=path, dtype="bf16", longest=2000, cached=100)
    assert sizes(beyond) == (256, 64 * 2 * 512), "the model has 256 positions"
