"""Answers of our own generation and of the engine, for test_vllm_engine: run by a Python that has vLLM.

python vllm_worker.py ANSWERED MODEL...

Each model answers as it is, with changed weights, and with strings that end an answer.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import torch

from trainers.generation.generate import generate
from trainers.generation.vllm import EngineSettings, kept_engine
from trainers.models import end_tokens, load_policy, load_tokenizer

NEW_TOKENS = 24
QUESTIONS = (
    "Name a colour.",
    "What is 7 + 5?",
    "Say hello to the river, please.",
    "Why?",
    "Count to ten: 1, 2",
)


def shaken(model: Any) -> None:
    """Other weights in the same places, as a training leaves them."""
    noise = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * parameter.std() * torch.randn(parameter.shape, generator=noise)


def some_string(tokenizer: Any, answers: list[list[int]]) -> str:
    """Two printable characters inside an answer, or one: a random byte may be part of no character."""
    texts = [tokenizer.decode(ids, skip_special_tokens=True)[2:] for ids in answers]
    return next(
        found[0] for length in (2, 1) for text in texts if (found := re.search(f"[!-~]{{{length}}}", text))
    )


def both(model: Any, tokenizer: Any, path: str, stop: tuple[str, ...] = ()) -> dict[str, list[list[int]]]:
    ids = [tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True,
                                         return_dict=False) for text in QUESTIONS]  # fmt: skip
    engine = kept_engine(EngineSettings(path=path, dtype="fp32", longest=192, cached=1024))
    asked = {"max_new_tokens": NEW_TOKENS, "eos_ids": end_tokens(model, tokenizer), "stop": stop}
    ours = generate(model, ids, pad_id=tokenizer.pad_token_id, tokenizer=tokenizer, **asked)
    return {"ours": ours, "theirs": engine.answer(model, ids, **asked)}


def main() -> None:
    torch.set_num_threads(1)
    answered, *paths = sys.argv[1:]
    found: dict[str, Any] = {}
    for path in paths:
        model, tokenizer = load_policy(path, dtype="fp32"), load_tokenizer(path)
        found[path] = {"as it is": both(model, tokenizer, path)}
        shaken(model)
        found[path]["changed"] = changed = both(model, tokenizer, path)
        found[path]["stopped"] = both(model, tokenizer, path, stop=(some_string(tokenizer, changed["ours"]),))
    Path(answered).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
