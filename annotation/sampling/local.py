"""Responses from a model in this process, by our own batched generation."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from annotation.config import ModelSource, SamplingConfig
from annotation.purse import Purse
from annotation.sampling.sampler import Drawn, Results, Unit, with_system
from trainers.generation.generate import Sampling, cut, generate
from trainers.models import end_tokens, load_policy, load_tokenizer, resolve_model
from trainers.prompt_format import tokenize_prompts


class LocalSampler:
    """A causal language model: folder, hub id or embedded, on the GPU where there is one.

    Prompts of a unit that want equally many responses are encoded once for all of them.
    """

    def __init__(self, source: ModelSource, sampling: SamplingConfig, purse: Purse | None = None) -> None:
        import torch

        self.unit = source.batch
        path = resolve_model(source.name)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model: Any = load_policy(path, dtype=source.dtype).to(device).eval()
        self._tokenizer: Any = load_tokenizer(path)
        if sampling.chat_template is not None:
            self._tokenizer.chat_template = sampling.chat_template.read_text(encoding="utf-8")
        self._sampling, self._price = sampling, source.price_per_hour / 3600
        self._purse = purse or Purse()
        self._dearest = 0.0
        # The first pass through a model is slow, and would mislead whoever takes the time of the first unit.
        generate(self._model, [[self._tokenizer.pad_token_id]], max_new_tokens=2, eos_ids=(), pad_id=0)

    def sample(self, units: Iterable[Unit]) -> Iterator[tuple[int, Results]]:
        """See `Sampler.sample`; MaxCostError where another unit as dear as the dearest is over the limit."""
        for number, unit in enumerate(units):
            if not self._purse.reserve(aside := self._dearest):
                raise self._purse.refuse(aside)
            started = time.monotonic()
            drawn = self._draw(unit)
            seconds = time.monotonic() - started
            cost = seconds * self._price
            self._dearest = max(self._dearest, cost)
            self._purse.settle(aside, cost)
            yield number, [Drawn(*one, cost / len(unit), seconds / len(unit)) for one in drawn]

    def _draw(self, unit: Unit) -> list[tuple[str, int, int, bool]]:
        """Text, tokens read and written, and whether it was cut off, for each request."""
        ids = self._prompt_ids(unit)
        found: dict[int, list[int]] = {}
        for members in _alike(unit):
            copies = len(members[0])
            order = [index for indices in members for index in indices]
            answers = generate(
                self._model,
                [ids[indices[0]] for indices in members],
                max_new_tokens=self._sampling.max_tokens,
                eos_ids=end_tokens(self._model, self._tokenizer),
                pad_id=self._tokenizer.pad_token_id,
                sampling=self._choice([unit[index].seed for index in order]),
                stop=self._sampling.stop,
                tokenizer=self._tokenizer,
                copies=copies,
            )
            found |= dict(zip(order, answers, strict=True))
        return [self._told(len(ids[index]), found[index]) for index in range(len(unit))]

    def _prompt_ids(self, unit: Unit) -> list[list[int]]:
        sampling = self._sampling
        prompts = (with_system(request.prompt, sampling.system_prompt) for request in unit)
        return tokenize_prompts(
            prompts, self._tokenizer, style=sampling.prompt_format, max_tokens=sampling.max_prompt_tokens
        )

    def _choice(self, seeds: Sequence[int]) -> Sampling | None:
        """None where the likeliest token is taken."""
        sampling = self._sampling
        return Sampling(sampling.temperature, sampling.top_p, seeds=seeds) if sampling.temperature else None

    def _told(self, read: int, answer: list[int]) -> tuple[str, int, int, bool]:
        whole = str(self._tokenizer.decode(answer, skip_special_tokens=True))
        text = cut(whole, self._sampling.stop)
        truncated = len(answer) == self._sampling.max_tokens and text == whole
        return text.strip(), read, len(answer), truncated


def _alike(unit: Unit) -> list[list[list[int]]]:
    """Places of the requests by prompt, the prompts grouped by how many requests they have."""
    by_prompt: dict[Any, list[int]] = defaultdict(list)
    for index, request in enumerate(unit):
        by_prompt[request.prompt.content].append(index)
    by_count: dict[int, list[list[int]]] = defaultdict(list)
    for indices in by_prompt.values():
        by_count[len(indices)].append(indices)
    return list(by_count.values())
