"""A batch as a file: which prompts to label next, in which order, and how many responses each still needs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from base.files import write_whole
from pools.subset import order
from pools.types import Example, Prompt
from search.prior.batches import Batch


def labelled_counts(examples: Sequence[Example]) -> dict[int, int]:
    """How many prompts have how many labelled responses; prompts without any are left out."""
    return dict(Counter(len(example.responses) for example in examples if example.responses))


def write_order(path: Path, batch: Batch, examples: Sequence[Example], seed: int) -> int:
    """Write one JSON object a prompt: topped-up prompts first, then new ones, each in the study's own order.

    `have` is how many responses are labelled, `label` how many more are wanted. Returns the prompts written,
    which are fewer than the batch's where the pool holds fewer.
    """
    lines = [json.dumps(row, ensure_ascii=False) for row in _rows(batch, examples, seed)]
    write_whole(path, "".join(f"{line}\n" for line in lines))
    return len(lines)


def _rows(batch: Batch, examples: Sequence[Example], seed: int) -> Iterator[dict[str, Any]]:
    ordered = [examples[index] for index in order(examples, seed)]
    chosen: list[tuple[Example, int]] = []
    if batch.top_up is not None:
        having = [e for e in ordered if len(e.responses) == batch.top_up.have]
        more = batch.top_up.to - batch.top_up.have
        chosen += [(example, more) for example in having[: batch.top_up.prompts]]
    if batch.new is not None:
        bare = [example for example in ordered if not example.responses]
        chosen += [(example, batch.new.responses) for example in bare[: batch.new.prompts]]
    for rank, (example, more) in enumerate(chosen, 1):
        row: dict[str, Any] = {
            "rank": rank,
            "prompt": _content(example.prompt),
            "domain": example.prompt.domain,
        }
        row |= {"meta": dict(example.prompt.meta)} if example.prompt.meta else {}
        yield row | {"have": len(example.responses), "label": more}


def _content(prompt: Prompt) -> str | list[dict[str, str]]:
    return (
        prompt.content if isinstance(prompt.content, str) else [dict(vars(turn)) for turn in prompt.content]
    )
