"""A trained policy as others load it: Hugging Face files, and a card that says where it comes from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from trainers.config import TrainerConfig
from trainers.models import load_policy


def save_policy(
    weights: Mapping[str, Tensor],
    folder: Path,
    *,
    base: str,
    config: TrainerConfig,
    tokenizer: Any,
    card: str,
) -> None:
    """Write the policy with `weights` (by the names of `load_policy(base)`'s parameters) to `folder`.

    Adapters are merged into the weights. The folder appears whole or not at all, and replaces one of an
    earlier run. Raises OSError, RuntimeError or SafetensorError where it cannot be written.
    """
    model: Any = load_policy(base, dtype=config.dtype, lora=config.lora)
    _, unknown = model.load_state_dict(weights, strict=False)  # tied weights have one name of two
    assert not unknown, unknown
    if config.lora.rank:
        model = model.merge_and_unload()
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        model.save_pretrained(partial)
        tokenizer.save_pretrained(partial)
        (partial / "README.md").write_text(card, encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def model_card(name: str, *, base: str, facts: Mapping[str, Any]) -> str:
    """The README of a policy: `facts` as a table, and how far its reward may be believed."""
    rows = "\n".join(f"| {label} | {value} |" for label, value in facts.items())
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [apportion, preference-optimization]
---

# {name}

A policy that one trial of an apportion study trained from `{base}`, to measure what a split of an annotation
budget is worth.

| what | value |
|---|---|
| base model | {base} |
{rows}
| made by | apportion {version("apportion")} |

The reward is a reward model's judgement of greedy answers to held-out prompts, not people's. The policy was
trained to compare ways of labelling; it was not examined for safety or for use.
"""
