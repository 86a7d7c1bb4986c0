"""Answers for evaluation: batched decoding that returns what decoding one prompt at a time would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainers.cache import roomy_cache

# What a decoding step costs however few its rows, in tokens encoded: reading the weights on a CPU, launching
# kernels on a GPU.
_STEP_COST = {"cpu": 32.0, "cuda": 2048.0}


@dataclass(frozen=True)
class Sampling:
    """Sampling in place of greedy choice: `temperature` > 0, nucleus mass `top_p` in (0, 1], `seed`."""

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0


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
) -> list[list[int]]:
    """Token ids of one answer to each prompt, in the prompts' order, without the end token.

    Prompts are sorted by length and cut into batches of rows x (longest prompt + `max_new_tokens`) within
    `token_budget`; rows that ended leave the batch. With `stop` (which needs `tokenizer`) an answer also ends
    with the token that completes one of these strings; `cut` then takes the string off the text.
    """
    training = model.training
    model.eval()
    answers: list[list[int]] = [[] for _ in prompt_ids]
    chooser = _Chooser(sampling, model.device)
    step_cost = _STEP_COST.get(model.device.type, _STEP_COST["cuda"])
    for rows in _batches([len(ids) for ids in prompt_ids], max_new_tokens, token_budget, step_cost):
        prompts = [list(prompt_ids[row]) for row in rows]
        ends = _Ends(frozenset(eos_ids), tuple(stop), tokenizer)
        for row, answer in zip(
            rows, _decode(model, prompts, max_new_tokens, pad_id, chooser, ends), strict=True
        ):
            answers[row] = answer
    model.train(training)
    return answers


def _batches(lengths: Sequence[int], new_tokens: int, budget: int, step_cost: float) -> list[list[int]]:
    """Indices, longest first, in the batches that cost least among those whose padded size with the answers
    stays within `budget`.

    `step_cost` is what decoding one token costs however few the rows are, in tokens encoded: it speaks for
    few large batches, and padding to a batch's longest prompt for many of equal lengths.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    cheapest: list[tuple[float, int]] = [(0.0, 0)]  # for the first n prompts: cost, start of the last batch
    for stop in range(1, len(order) + 1):
        options = []
        for start in range(stop - 1, -1, -1):
            rows, longest = stop - start, lengths[order[start]]
            if rows > 1 and rows * (longest + new_tokens) > budget:
                break
            padded = rows * (longest + new_tokens)
            options.append((cheapest[start][0] + padded + new_tokens * step_cost, start))
        cheapest.append(min(options))
    batches: list[list[int]] = []
    stop = len(order)
    while stop:
        start = cheapest[stop][1]
        batches.append(order[start:stop])
        stop = start
    return batches[::-1]


def cut(text: str, stop: Sequence[str]) -> str:
    """`text` up to the first of the strings `stop`."""
    return text[: min((place for place in map(text.find, stop) if place >= 0), default=len(text))]


def _decode(
    model: Any, prompts: list[list[int]], max_new_tokens: int, pad_id: int, chooser: _Chooser, ends: _Ends
) -> list[list[int]]:
    width = max(map(len, prompts))
    ids = torch.tensor([[pad_id] * (width - len(p)) + p for p in prompts], device=model.device)
    lengths = torch.tensor([len(p) for p in prompts], device=model.device)
    # One column for each token to come, so that the mask only has to be sliced.
    columns = torch.arange(width + max_new_tokens, device=model.device)
    mask = (columns >= width - lengths[:, None]).long()
    positions = (mask[:, :width].cumsum(1) - 1).clamp(min=0)
    answers: list[list[int]] = [[] for _ in prompts]
    alive = list(range(len(prompts)))
    cache = roomy_cache(model.config)
    for seen in range(width, width + max_new_tokens):
        logits = model(
            input_ids=ids,
            attention_mask=mask[:, :seen],
            position_ids=positions,
            past_key_values=cache,
            logits_to_keep=1,
        ).logits
        tokens = chooser(logits[:, -1])
        ended = [ends.reached(answers[row], token) for row, token in zip(alive, tokens.tolist(), strict=True)]
        if all(ended):
            break
        if any(ended):
            kept = _closed_up(ended)
            alive = [alive[place] for place in kept]
            places = torch.tensor(kept, device=model.device)
            cache.batch_select_indices(places)
            tokens, mask, positions = tokens[places], mask[places], positions[places]
        ids = tokens[:, None]
        positions = positions[:, -1:] + 1
    return answers


def _closed_up(ended: Sequence[bool]) -> list[int]:
    """Places of the rows that go on: as many as can keep theirs, and the last fill the gaps."""
    going = [place for place, over in enumerate(ended) if not over]
    movers = iter(going[::-1])
    return [next(movers) if over else place for place, over in enumerate(ended[: len(going)])]


@dataclass
class _Chooser:
    """Picks each row's next token from its logits [B, V]."""

    sampling: Sampling | None
    device: torch.device

    def __post_init__(self) -> None:
        self._generator = torch.Generator(self.device).manual_seed(self.sampling.seed if self.sampling else 0)

    def __call__(self, logits: Tensor) -> Tensor:
        if self.sampling is None:
            return logits.argmax(-1)
        probabilities, order = (
            (logits.float() / self.sampling.temperature).softmax(-1).sort(-1, descending=True)
        )
        before = probabilities.cumsum(-1) - probabilities
        nucleus = probabilities.masked_fill(before >= self.sampling.top_p, 0.0)
        return order.gather(1, torch.multinomial(nucleus, 1, generator=self._generator))[:, 0]


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
        # A token has a byte at least, and the one before the string may change what its first looks like.
        longest = max(len(text.encode()) for text in self.stop)
        tail = self.tokenizer.decode(answer[-longest - 1 :])
        return any(text in tail for text in self.stop)
