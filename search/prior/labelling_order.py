"""A batch as a file: which prompts to label next, in which order, and what each still needs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from base.files import write_whole
from pools.raters import raters_each
from pools.subset import order
from pools.types import Example, Prompt
from search.prior.batches import Batch, Labels, rater_fields


def labels_of(example: Example, raters: int | None) -> Labels:
    """What a prompt has. `raters` judged each response where the pool does not say; None: nobody asks."""
    return Labels(len(example.responses), raters and (raters_each(example) or raters))


def labelled_counts(examples: Sequence[Example], raters: int | None = None) -> Counter[Labels]:
    """How many prompts have what (`labels_of`); prompts without any labelled response are left out."""
    return Counter(labels_of(example, raters) for example in examples if example.responses)


def write_order(
    path: Path, batch: Batch, examples: Sequence[Example], seed: int, raters: int | None = None
) -> int:
    """Write one JSON object a prompt: topped-up prompts first, then new ones, each in the study's own order.

    `have` is how many responses are labelled, `label` how many more are wanted; where raters are part of the
    question, `annotation.labels.next_batch` reads who is to judge what. `raters` as in `labels_of`. Returns
    the prompts written, which are fewer than the batch's where the pool holds fewer.
    """
    lines = [json.dumps(row, ensure_ascii=False) for row in _rows(batch, examples, seed, raters)]
    write_whole(path, "".join(f"{line}\n" for line in lines))
    return len(lines)


def _rows(
    batch: Batch, examples: Sequence[Example], seed: int, raters: int | None
) -> Iterator[dict[str, Any]]:
    ordered = [examples[index] for index in order(examples, seed)]
    chosen: list[tuple[Example, Labels, Labels]] = []
    if batch.top_up is not None:
        have, to = batch.top_up.have, batch.top_up.to
        having = [example for example in ordered if labels_of(example, raters) == have]
        chosen += [(example, have, to) for example in having[: batch.top_up.prompts]]
    if batch.new is not None:
        to = Labels(batch.new.responses, batch.new.raters)
        bare = [example for example in ordered if not example.responses]
        chosen += [(example, Labels(0), to) for example in bare[: batch.new.prompts]]
    for rank, (example, have, to) in enumerate(chosen, 1):
        yield {"rank": rank, **_prompt(example.prompt), **_wanted(example, have, to)}


def _prompt(prompt: Prompt) -> dict[str, Any]:
    row = {"prompt": _content(prompt), "domain": prompt.domain}
    return row | ({"meta": dict(prompt.meta)} if prompt.meta else {})


def _wanted(example: Example, have: Labels, to: Labels) -> dict[str, Any]:
    row: dict[str, Any] = {"have": have.responses, "label": to.responses - have.responses}
    if have.raters:
        row["labelled"] = [response.text for response in example.responses]
        row["rated_by"] = sorted({each.rater for one in example.responses for each in one.ratings})
    return row | rater_fields(have, to)


def _content(prompt: Prompt) -> str | list[dict[str, str]]:
    return (
        prompt.content if isinstance(prompt.content, str) else [dict(vars(turn)) for turn in prompt.content]
    )
