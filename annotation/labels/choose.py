"""Which prompts and responses are labelled: those that a study of the same selection and seed would draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from annotation.labels.tasks import LabelSplit
from base.errors import PoolError
from metrics.ngrams import pack_ngrams
from metrics.tokens import tokenize
from pools.response_choice import ResponseChoice
from pools.selection import select_order
from pools.subset import draw, order
from pools.types import Example


def choose(
    examples: Sequence[Example],
    split: LabelSplit,
    *,
    selection: str,
    strength: float,
    seed: int,
    response_choice: ResponseChoice = "random",
    tokenizer: Callable[[], Any],
) -> list[Example]:
    """The prompts in labelling order, each with its chosen responses; prompts with fewer are passed over.

    `tokenizer` is asked for where the selection looks at tokens. PoolError where too few prompts are left, or
    where the choice goes by a judge's scores and one is missing.
    """
    enough = [example for example in examples if len(example.responses) >= split.responses]
    if len(enough) < split.prompts:
        raise PoolError(
            f"--split asks for {split.prompts:,} prompts with {split.responses} responses, but the pool has "
            f"{len(enough):,} train prompts with so many ({len(examples):,} in all)"
        )
    shuffled = order(examples=enough, seed=seed)
    if selection != "random":
        tokens = tokenize((example.prompt.text for example in enough), tokenizer())
        chosen, _ = select_order(
            pack_ngrams(tokens, 2),
            tokens.lengths,
            kind=selection,
            strength=strength,
            seed=seed,
            prompts=split.prompts,
            shuffled=shuffled,
        )
        shuffled = chosen.tolist()
    return draw(
        enough,
        prompts=split.prompts,
        responses=split.responses,
        seed=seed,
        order=shuffled,
        choice=response_choice,
    )
