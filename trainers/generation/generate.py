"""Batched decoding that returns the answers of decoding one prompt at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from base.batching import padded_batches
from trainers.generation.cache import can_join, empty_cache, joined
from trainers.policy.attention import answering

# Tokens that are looked at first: they nearly always hold the nucleus, and sorting the vocabulary is slow.
_LIKELIEST = 512


@dataclass(frozen=True)
class Sampling:
    """Sampling in place of greedy choice: `temperature` > 0, nucleus mass `top_p` in (0, 1], `seed`.

    With `seeds`, one an answer, each answer is drawn by its own seed, whatever else is in the call (`seed` is
    not used then). What remains of the others is rounding, which depends on a batch's shape.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    seeds: Sequence[int] = ()


@torch.no_grad()
def generate(
    model: Any,
    prompt_ids: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    eos_ids: Sequence[int],
    pad_id: int,
    token_budget: int = 16384,
    sampling: Sampling | None = None,
    stop: Sequence[str] = (),
    tokenizer: Any = None,
    copies: int = 1,
) -> list[list[int]]:
    """Token ids of `copies` answers to each prompt, in the prompts' order, without the end token.

    A prompt is encoded once for all its answers, which are next to each other and differ only by `sampling`.
    Prompts are sorted by length and cut into batches of answers x (longest prompt + `max_new_tokens`) within
    `token_budget`; rows that ended leave the batch. With `stop` (which needs `tokenizer`) an answer also ends
    with the token that completes one of these strings; `cut` then takes the string off the text.
    """
    answers: list[list[int]] = [[] for _ in range(copies * len(prompt_ids))]
    chooser = _Chooser(sampling, model.device)
    with answering(model):
        for rows in padded_batches([len(ids) + max_new_tokens for ids in prompt_ids], token_budget // copies):
            prompts = [list(prompt_ids[row]) for row in rows]
            ends = _Ends(frozenset(eos_ids), tuple(stop), tokenizer)
            indices = [row * copies + copy for row in rows for copy in range(copies)]
            chooser.begin(indices, max_new_tokens)
            found = _decode(model, prompts, max_new_tokens, pad_id, chooser, ends, copies)
            for index, answer in zip(indices, found, strict=True):
                answers[index] = answer
    return answers


def cut(text: str, stop: Sequence[str]) -> str:
    """`text` up to the first of the strings `stop`."""
    return text[: min((start for start in map(text.find, stop) if start >= 0), default=len(text))]


def _decode(
    model: Any,
    prompts: list[list[int]],
    max_new_tokens: int,
    pad_id: int,
    chooser: _Chooser,
    ends: _Ends,
    copies: int,
) -> list[list[int]]:
    """`copies` answers to each of `prompts`, which come longest first."""
    width = len(prompts[0])
    # One column for each token to come, so that the mask only has to be sliced.
    mask = _mask(prompts, width + max_new_tokens, width, model.device).repeat_interleave(copies, 0)
    positions = torch.tensor([[len(prompt)] for prompt in prompts], device=model.device)
    positions = positions.repeat_interleave(copies, 0)
    answers: list[list[int]] = [[] for _ in range(copies * len(prompts))]
    alive = list(range(len(answers)))
    logits, cache = _encode(model, prompts, pad_id)
    logits = logits.repeat_interleave(copies, 0)
    if copies > 1:
        cache.batch_repeat_interleave(copies)
    for seen in range(width + 1, width + max_new_tokens + 1):
        tokens = chooser(logits, alive)
        ended = [ends.reached(answers[row], token) for row, token in zip(alive, tokens.tolist(), strict=True)]
        if all(ended) or seen == width + max_new_tokens:
            break
        if any(ended):
            kept = _compacted(ended)
            alive = [alive[index] for index in kept]
            indices = torch.tensor(kept, device=model.device)
            cache.batch_select_indices(indices)
            tokens, mask, positions = tokens[indices], mask[indices], positions[indices]
        logits = _forward(model, tokens[:, None], mask[:, :seen], positions, cache)
        positions = positions + 1
    return answers


def _encode(model: Any, prompts: list[list[int]], pad_id: int) -> tuple[Tensor, DynamicCache]:
    """Logits [B, V] after each prompt, and the cache of all, padded on the left to the longest.

    Prompts of similar lengths are encoded together, since here padding costs as much as text, and their
    caches joined, since in decoding it costs next to nothing.
    """
    groups = _similar_lengths(prompts) if can_join(model) else [prompts]
    parts = []
    for group in groups:
        width, cache = len(group[0]), empty_cache(model)
        ids = torch.tensor([[pad_id] * (width - len(p)) + p for p in group], device=model.device)
        mask = _mask(group, width, width, model.device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        parts.append((_forward(model, ids, mask, positions, cache), cache))
    caches = [cache for _, cache in parts]
    return torch.cat([logits for logits, _ in parts]), joined(model, caches)


def _similar_lengths(prompts: list[list[int]]) -> list[list[list[int]]]:
    """Prompts, longest first, in groups where none is shorter than four fifths of the longest."""
    groups: list[list[list[int]]] = []
    for prompt in prompts:
        if not groups or 5 * len(prompt) < 4 * len(groups[-1][0]):
            groups.append([])
        groups[-1].append(prompt)
    return groups


def _mask(prompts: list[list[int]], columns: int, width: int, device: torch.device) -> Tensor:
    """[B, columns] of 0 and 1: prompts end before column `width`, and all columns from it on are 1."""
    starts = torch.tensor([[width - len(prompt)] for prompt in prompts], device=device)
    return (torch.arange(columns, device=device) >= starts).long()


def _forward(model: Any, ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
    """Logits [B, V] of the last column."""
    out = model(
        input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
    )
    logits: Tensor = out.logits[:, -1]
    return logits


def _compacted(ended: Sequence[bool]) -> list[int]:
    """Indices of the rows that continue: as many as possible stay in place, and the last fill the gaps."""
    left = [index for index, over in enumerate(ended) if not over]
    movers = iter(left[::-1])
    return [next(movers) if over else index for index, over in enumerate(ended[: len(left)])]


class _Chooser:
    """Picks each row's next token from its logits [B, V]."""

    def __init__(self, sampling: Sampling | None, device: torch.device) -> None:
        self._sampling = sampling
        self._generator = torch.Generator(device).manual_seed(sampling.seed if sampling else 0)
        self._draws: Iterator[Tensor] = iter(())

    def begin(self, answers: Sequence[int], new_tokens: int) -> None:
        """Draw, for a batch of these answers, a number in [0, 1) for each token to come."""
        if self._sampling and self._sampling.seeds:
            seeds = [self._sampling.seeds[answer] for answer in answers]
            drawn = np.stack([np.random.default_rng(seed).random(new_tokens) for seed in seeds], axis=1)
            self._draws = iter(torch.from_numpy(drawn).to(self._generator.device))

    def __call__(self, logits: Tensor, rows: Sequence[int]) -> Tensor:
        """The next token [B] of those `rows` of the batch that `logits` belong to."""
        if self._sampling is None:
            return logits.max(-1).indices  # on a CPU argmax takes four times as long
        likely = (logits.float() / self._sampling.temperature).softmax(-1)
        probabilities, order = likely.topk(min(_LIKELIEST, likely.shape[-1]))
        if (probabilities.sum(-1) < self._sampling.top_p).any():
            probabilities, order = likely.sort(-1, descending=True)
        before = probabilities.cumsum(-1) - probabilities
        nucleus = probabilities.masked_fill(before >= self._sampling.top_p, 0.0)
        if self._sampling.seeds:
            return order.gather(1, _drawn(nucleus, next(self._draws)[list(rows)]))[:, 0]
        return order.gather(1, torch.multinomial(nucleus, 1, generator=self._generator))[:, 0]


def _drawn(weights: Tensor, uniform: Tensor) -> Tensor:
    """[B, 1]: the column of `weights` [B, V] in which `uniform` [B], a share of their sum, falls."""
    sums = weights.double().cumsum(-1)
    return torch.searchsorted(sums, (uniform * sums[:, -1])[:, None], right=True).clamp(
        max=weights.shape[-1] - 1
    )


@dataclass(frozen=True)
class _Ends:
    """Where an answer ends: at an end token, or with a stop string."""

    eos_ids: frozenset[int]
    stop: tuple[str, ...]
    tokenizer: Any

    def reached(self, answer: list[int], token: int) -> bool:
        """Append `token` to `answer` unless it is an end token; whether the answer is complete."""
        if token in self.eos_ids:
            return True
        answer.append(token)
        if not self.stop:
            return False
        # A token has at least one byte, and the token before the string may change how its first one decodes.
        longest = max(len(text.encode()) for text in self.stop)
        tail = self.tokenizer.decode(answer[-longest - 1 :])
        return any(text in tail for text in self.stop)
