"""Nested subsets of a pool: the same seed gives the same subset on any machine and in any file order.

As in Song et al. 2024, one seeded shuffle is made and every subset is a prefix of it. The shuffle sorts
by a digest of seed and content, so it depends on no random number generator and no position in a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from base.errors import PoolError
from pools.response_choice import ResponseChoice, in_order
from pools.types import Compared, Example, Pool, Prompt, guard_of

_DRAWN = np.dtype([("digest", "S16"), ("own", "S16")])


def order(examples: Sequence[Example], seed: int) -> list[int]:
    """Indices of `examples` in the seeded order; the prompts decide it alone."""
    ranked: list[int] = ranking((example.prompt.key for example in examples), seed).tolist()
    return ranked


def ranking(keys: Iterable[str], seed: int) -> NDArray[np.int64]:
    """Positions of prompts with these `Prompt.key`s in the seeded order; some 60 bytes each while they sort.

    Half of the digest of each guard decides: two of a billion prompts share that with a chance of 1 in
    10 ** 21, unless they differ in case or white space alone; then their own digests decide.
    """
    drawn = np.fromiter(((digest(seed, guard_of(key))[:16], key[-16:].encode()) for key in keys), _DRAWN)
    high, low = np.ascontiguousarray(drawn["digest"]).view(">u8").reshape(-1, 2).T
    ranked: NDArray[np.int64] = np.lexsort((drawn["own"], low, high))
    return ranked


def draw(
    examples: Sequence[Example],
    *,
    prompts: int,
    responses: int,
    seed: int,
    order: Sequence[int] | None = None,
    choice: ResponseChoice = "random",
) -> list[Example]:
    """The first `prompts` of the seeded order (or of `order`), each with `responses` of its responses.

    Nested both ways: n prompts are among n + 1, and k responses of a prompt are among its k + 1. Which k
    is a seeded choice, since a file may list the best first, or as `pools.response_choice` has it; they come
    back by falling score, ties in the order of the choice. Prompts are not passed over for having few
    responses (give `min_responses` when loading).
    Raises PoolError where there are fewer prompts or responses than asked.
    """
    ranked = _order(examples, seed) if order is None else order
    if not 1 <= prompts <= len(ranked):
        raise PoolError(f"{prompts} prompts were asked of a pool that has {len(ranked)} to draw from")
    return [_with_responses(examples[index], responses, seed, choice) for index in ranked[:prompts]]


_order = order  # within `draw` the name is its parameter


def _with_responses(example: Example, count: int, seed: int, choice: ResponseChoice) -> Example:
    if not 1 <= count <= len(example.responses):
        raise PoolError(
            f"{count} responses a prompt were asked, but the prompt {example.prompt.text[:60]!r} has "
            f"{len(example.responses)}; load the pool with min_responses {count} to leave such prompts out"
        )
    drawn = in_order(example, choice, shuffled(example, seed))
    if example.compared is not None:
        drawn = _next_to_each_other(drawn, example.compared)
    kept = sorted(drawn[:count], key=lambda index: -example.responses[index].score)
    return with_responses(example, kept)


def with_responses(example: Example, indices: Sequence[int]) -> Example:
    """The example with these of its responses, in this order, and what was compared among them."""
    responses = tuple(example.responses[index] for index in indices)
    return Example(example.prompt, responses, renumbered(example.compared, indices))


def renumbered(compared: Compared | None, indices: Sequence[int]) -> Compared | None:
    """The pairs among the responses at `indices`, by their numbers there."""
    if compared is None:
        return None
    new = {index: number for number, index in enumerate(indices)}
    return tuple(sorted((new[a], new[b]) for a, b in compared if a in new and b in new))


def shuffled(example: Example, seed: int) -> list[int]:
    """Places of the responses in the seeded order."""

    def drawn(index: int) -> tuple[bytes, str, float]:
        response = example.responses[index]
        return digest(seed, f"{example.prompt.guard}:{response.text}"), response.source, response.score

    return sorted(range(len(example.responses)), key=drawn)


def _next_to_each_other(indices: list[int], compared: Compared) -> list[int]:
    """The indices so that each was compared with one before it, where there is such a one: else the next.

    Of responses that were compared in part, k drawn blindly might hold no comparison at all.
    """
    beside: dict[int, set[int]] = {index: set() for index in indices}
    for a, b in compared:
        beside[a].add(b)
        beside[b].add(a)
    left, taken = list(indices), list[int]()
    while left:
        index = next((each for each in left if not beside[each].isdisjoint(taken)), left[0])
        left.remove(index)
        taken.append(index)
    return taken


def digest(seed: int, text: str) -> bytes:
    """What a text is sorted by in the seeded order."""
    return hashlib.sha256(f"{seed}:{text}".encode()).digest()


def set_apart(pool: Pool, prompts: int, *, seed: int) -> tuple[Pool, tuple[Prompt, ...]]:
    """The pool without `prompts` of its held-out prompts, and those: the first of their seeded order.

    Equal arguments set the same prompts apart anywhere. Raises PoolError where no test prompt would be left.
    """
    if prompts and prompts >= len(pool.held_out):
        raise PoolError(
            f"evaluation.dev_prompts is {prompts}, but the pool has {len(pool.held_out)} held-out prompts, "
            "and some of them must be left for the test: lower it, or raise pool.held_out_prompts"
        )
    chosen = set(order(pool.held_out, seed)[:prompts])
    test = tuple(example for index, example in enumerate(pool.held_out) if index not in chosen)
    return replace(pool, held_out=test), tuple(pool.held_out[index].prompt for index in sorted(chosen))
