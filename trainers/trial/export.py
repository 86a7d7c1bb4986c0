"""A trained policy as Hugging Face files, with a model card of its origin."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from base.files import whole_folder
from base.progress_bars import without_progress_bars
from trainers.config.trainer import TrainerConfig
from trainers.models import end_tokens, load_policy

CONFIG = "config.json"  # without it transformers loads nothing


def save_policy(
    weights: Mapping[str, Tensor],
    destination: str,
    *,
    base: str,
    config: TrainerConfig,
    tokenizer: Any,
    card: str,
) -> None:
    """Write the policy with `weights` (by the names of `load_policy(base)`'s parameters) to `destination`.

    A folder or the URI of one in an object store; it replaces one of an earlier run. Adapters are merged
    into the weights. The folder appears whole or not at all; in an object store, which cannot rename,
    `config.json` is copied last. Raises OSError, RuntimeError or SafetensorError where it cannot be written;
    no half of it is left then.
    """
    from pyarrow.fs import FileSystem, LocalFileSystem

    filesystem, path = FileSystem.from_uri(destination)
    model: Any = load_policy(base, dtype=config.dtype, lora=config.lora)
    _, unknown = model.load_state_dict(weights, strict=False)  # tied weights have one name of two
    assert not unknown, unknown
    if config.lora.rank:
        model = model.merge_and_unload()
    # `generate` reads end tokens from this configuration, which may lack the one that training appends.
    model.generation_config.eos_token_id = end_tokens(model, tokenizer)

    def write(folder: Path) -> None:
        with without_progress_bars():
            model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "README.md").write_text(card, encoding="utf-8")

    if isinstance(filesystem, LocalFileSystem):
        with whole_folder(Path(path)) as folder:
            write(folder)
    else:
        put_remote(filesystem, path, write)


def put_remote(filesystem: Any, path: str, write: Callable[[Path], None]) -> None:
    """Copy the folder that `write` fills to `path` of a pyarrow file system, its `config.json` last.

    Files of an earlier run are deleted first, and so is half a copy. Raises OSError.
    """
    from pyarrow.fs import copy_files

    with tempfile.TemporaryDirectory() as own:
        folder, last = Path(own) / "policy", Path(own) / CONFIG
        write(folder)
        os.rename(folder / CONFIG, last)
        filesystem.create_dir(path, recursive=True)
        filesystem.delete_dir_contents(path)
        try:
            copy_files(str(folder), path, destination_filesystem=filesystem, use_threads=False)
            copy_files(str(last), f"{path}/{CONFIG}", destination_filesystem=filesystem, use_threads=False)
        except OSError:
            with suppress(OSError):
                filesystem.delete_dir(path)
            raise


def model_card(name: str, *, base: str, facts: Mapping[str, Any]) -> str:
    """The README of a policy: `facts` as a table, and the limits of its reward."""
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
