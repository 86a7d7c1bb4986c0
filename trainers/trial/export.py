"""A trained policy as others load it: Hugging Face files, and a card that says where it comes from."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor

from trainers.config.trainer import TrainerConfig
from trainers.models import end_tokens, load_policy

LAST = "config.json"  # without it transformers loads nothing


def save_policy(
    weights: Mapping[str, Tensor],
    place: str,
    *,
    base: str,
    config: TrainerConfig,
    tokenizer: Any,
    card: str,
) -> None:
    """Write the policy with `weights` (by the names of `load_policy(base)`'s parameters) to `place`.

    That is a folder or the URI of one in an object store, and replaces one of an earlier run. Adapters are
    merged into the weights. The folder appears whole or not at all; in an object store, which renames
    nothing, `config.json` comes last. Raises OSError, RuntimeError or SafetensorError where it cannot be
    written, and then leaves nothing there.
    """
    from pyarrow.fs import FileSystem, LocalFileSystem

    filesystem, path = FileSystem.from_uri(place)
    model: Any = load_policy(base, dtype=config.dtype, lora=config.lora)
    _, unknown = model.load_state_dict(weights, strict=False)  # tied weights have one name of two
    assert not unknown, unknown
    if config.lora.rank:
        model = model.merge_and_unload()
    # `generate` asks this file, not the tokenizer, and a base model's may not know what training closed with.
    model.generation_config.eos_token_id = end_tokens(model, tokenizer)

    def write(folder: Path) -> None:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        (folder / "README.md").write_text(card, encoding="utf-8")

    if isinstance(filesystem, LocalFileSystem):
        _put_local(Path(path), write)
    else:
        put_remote(filesystem, path, write)


def _put_local(folder: Path, write: Callable[[Path], None]) -> None:
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        write(partial)
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def put_remote(filesystem: Any, path: str, write: Callable[[Path], None]) -> None:
    """Copy the folder that `write` fills to `path` of a pyarrow file system, its `config.json` last.

    What an earlier run left there is deleted first, and so is half a copy. Raises OSError.
    """
    from pyarrow.fs import copy_files

    with tempfile.TemporaryDirectory() as own:
        folder, last = Path(own) / "policy", Path(own) / LAST
        write(folder)
        os.rename(folder / LAST, last)
        filesystem.create_dir(path, recursive=True)
        filesystem.delete_dir_contents(path)
        try:
            copy_files(str(folder), path, destination_filesystem=filesystem, use_threads=False)
            copy_files(str(last), f"{path}/{LAST}", destination_filesystem=filesystem, use_threads=False)
        except OSError:
            with suppress(OSError):
                filesystem.delete_dir(path)
            raise


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
