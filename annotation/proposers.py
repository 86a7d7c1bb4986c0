"""Who thinks up new prompts: a language model here, or one behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Protocol

from base.errors import ApportionError
from trainers.models import end_tokens, load_policy, load_tokenizer, resolve_model

_INTRODUCTION = "Requests that people make of an assistant, one a line, no two alike:"
_INSTRUCTION = (
    "Below are requests that people make of an assistant. Write one more such request, on a topic and with "
    "words that none of them has, about as long as they are. Answer with the request alone, on one line."
)


class Proposer(Protocol):
    """Source of new prompts."""

    def propose(self, shots: Iterator[list[str]], count: int) -> Iterator[str]:
        """`count` new prompts, each after one draw of example prompts from `shots`."""
        ...


class LocalProposer:
    """A causal language model (folder, hub id or embedded) that continues a list of the pool's prompts."""

    def __init__(
        self, model: str, *, temperature: float = 1.0, top_p: float = 0.95, seed: int = 0, batch: int = 16
    ) -> None:
        path = resolve_model(model)
        self._model, self._tokenizer = load_policy(path), load_tokenizer(path)
        self._temperature, self._top_p, self._seed, self._batch = temperature, top_p, seed, batch

    def propose(self, shots: Iterator[list[str]], count: int) -> Iterator[str]:
        """`count` lines that the model writes after lists of prompts."""
        from trainers.generation.generate import Sampling, cut, generate

        for start in range(0, count, self._batch):
            lists = islice(shots, min(self._batch, count - start))
            answers = generate(
                self._model,
                [self._tokenizer.encode(_as_list(examples)) for examples in lists],
                max_new_tokens=128,
                eos_ids=end_tokens(self._model, self._tokenizer),
                pad_id=self._tokenizer.pad_token_id,
                sampling=Sampling(self._temperature, self._top_p, self._seed + start),
                stop=("\n",),
                tokenizer=self._tokenizer,
            )
            yield from (
                cut(self._tokenizer.decode(ids, skip_special_tokens=True), ("\n",)) for ids in answers
            )


class EndpointProposer:
    """A chat model behind an OpenAI-compatible endpoint; the key, if one is needed, is OPENAI_API_KEY."""

    def __init__(
        self, url: str, model: str, *, temperature: float = 1.0, timeout: float = 60.0, parallel: int = 8
    ) -> None:
        self._url = url.rstrip("/") + "/chat/completions"
        self._model, self._temperature = model, temperature
        self._timeout, self._parallel = timeout, parallel

    def propose(self, shots: Iterator[list[str]], count: int) -> Iterator[str]:
        """`count` answers, one request each; ApportionError where the endpoint does not answer so."""
        with ThreadPoolExecutor(self._parallel) as pool:
            yield from pool.map(self._ask, list(islice(shots, count)))

    def _ask(self, examples: Sequence[str]) -> str:
        content = "\n".join([_INSTRUCTION, "", *(f"- {example}" for example in examples)])
        body = {
            "model": self._model,
            "temperature": self._temperature,
            "max_tokens": 256,
            "messages": [{"role": "user", "content": content}],
        }
        answer = self._post(body)
        try:
            return str(answer["choices"][0]["message"]["content"] or "")
        except (KeyError, IndexError, TypeError):
            raise ApportionError(f"{self._url} answered without a choice: {str(answer)[:200]}") from None

    def _post(self, body: dict[str, Any]) -> Any:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self._url, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as response:
                return json.load(response)
        except (urllib.error.URLError, TimeoutError, json.JSONDecodeError) as error:
            raise ApportionError(f"{self._url} failed: {error}") from error


def _as_list(examples: Sequence[str]) -> str:
    lines = [f"{place}. {example}" for place, example in enumerate(examples, start=1)]
    return "\n".join([_INTRODUCTION, *lines, f"{len(lines) + 1}."])
