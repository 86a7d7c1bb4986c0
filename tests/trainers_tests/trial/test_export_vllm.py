"""vLLM serves a saved policy: the same prompts, and in float32 the very answers that the study judged.

vLLM wants another release of transformers than the project, so it lives in an environment of its own, which
APPORTION_VLLM_PYTHON names. docs/checkpoints.md says how that is made.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist
from support.tiny_models import build, byte_tokenizer
from transformers import OPTConfig

from metrics.config import RewardConfig
from pools.config import PoolConfig
from pools.sources import load_pool
from trainers.config.trainer import CheckpointConfig, EvaluationConfig, ModelConfig, TrainerConfig
from trainers.generation.generate import generate
from trainers.models import load_policy, load_tokenizer
from trainers.prompt_format import tokenize_prompts
from trainers.spec import TrialJob, TrialSetup
from trainers.trial.job import run_trial
from trainers.workers.local import LocalContext

PYTHON = os.environ.get("APPORTION_VLLM_PYTHON", "")
EMBEDDED = "embedded:smollm2-135m"
NEW_TOKENS = 48

# Run by vLLM's Python. The answers go to a file, since vLLM says much on its way.
SERVE = """
import json, sys
from vllm import LLM, SamplingParams

policy, asked, answered, new_tokens = sys.argv[1:]
llm = LLM(policy, dtype="float32", enforce_eager=True, max_model_len=1024)
greedy = SamplingParams(temperature=0, max_tokens=int(new_tokens))
outputs = llm.chat(json.load(open(asked)), greedy, use_tqdm=False)
rows = [(list(row.prompt_token_ids), list(row.outputs[0].token_ids)) for row in outputs]
json.dump(rows, open(answered, "w"))
"""
ALONE = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # one process, which the test's time limit ends
    "VLLM_NO_USAGE_STATS": "1",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not PYTHON, reason="vLLM is NOT tested: APPORTION_VLLM_PYTHON names no Python that has it"
    ),
]


def served(policy: str, conversations: list[list[dict[str, str]]], folder: Path) -> Any:
    """For each conversation the token ids of its prompt and of vLLM's greedy answer, with the end token."""
    asked, answered = folder / "asked.json", folder / "answered.json"
    asked.write_text(json.dumps(conversations))
    command = [PYTHON, "-c", SERVE, policy, str(asked), str(answered), str(NEW_TOKENS)]
    done = subprocess.run(command, env={**os.environ, **ALONE}, capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(answered.read_text())


def tiny_opt(folder: Path) -> str:
    """The paper's own family, in small; vLLM's kernels ask for heads of 32."""
    sizes = {"vocab_size": 300, "hidden_size": 64, "word_embed_proj_dim": 64, "ffn_dim": 96}
    sizes |= {"num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 1024}
    build(OPTConfig(**sizes, init_std=0.3, pad_token_id=0, eos_token_id=2)).save_pretrained(folder)
    byte_tokenizer(chat=True).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The process group in which DeepSpeed trains; it has to end it itself, or it takes no other one."""
    import deepspeed

    monkeypatch.setenv("LOCAL_RANK", "0")
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    yield
    deepspeed.comm.destroy_process_group()


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize(("base", "rank"), [(EMBEDDED, 0), (EMBEDDED, 8), ("tiny OPT", 0)])
def test_vllm_answers_as_the_study_did(tmp_path: Path, base: str, rank: int) -> None:
    pool, _ = load_pool(PoolConfig(path="demo", held_out_prompts=8), seed=0)
    name = base if base == EMBEDDED else tiny_opt(tmp_path / "base")
    rate = 2e-3 if rank else 2e-4  # adapters learn slowly, and answers have to differ from the base model's
    trainer = {"algorithm": {"name": "sft"}, "steps": 3, "batch_prompts": 4, "learning_rate": rate}
    setup = TrialSetup(
        model=ModelConfig(name=name, max_prompt_tokens=512),
        trainer=TrainerConfig.model_validate({**trainer, "dtype": "fp32", "lora": {"rank": rank}}),
        evaluation=EvaluationConfig(max_new_tokens=NEW_TOKENS),
        reward=RewardConfig(kind="verifier", function="pools.demo.verifier:score"),
        checkpoints=CheckpointConfig(every=0),
        policies=str(tmp_path / "policies"),
    )
    job = TrialJob(setup=setup, responses=2, orders={0: range(12)})
    (result,) = run_trial(job, pool, LocalContext())

    prompts = [example.prompt for example in pool.held_out]
    tokenizer: Any = load_tokenizer(result.policy)
    asked = tokenize_prompts(prompts, tokenizer, style="auto", max_tokens=512)
    end = tokenizer.eos_token_id
    answers = generate(
        load_policy(result.policy, dtype="fp32"),
        asked,
        max_new_tokens=NEW_TOKENS,
        eos_ids=[end],
        pad_id=tokenizer.pad_token_id,
    )
    closed = [ids if len(ids) == NEW_TOKENS else [*ids, end] for ids in answers]
    assert any(ids[-1] == end for ids in closed), "no answer ends by itself: this shows nothing of ends"
    conversations = [[{"role": "user", "content": str(prompt.content)}] for prompt in prompts]
    assert served(result.policy, conversations, tmp_path) == [
        list(row) for row in zip(asked, closed, strict=True)
    ]
    texts = tokenizer.batch_decode(answers, skip_special_tokens=True)
    assert [text.strip() for text in texts] == list(result.answers)
