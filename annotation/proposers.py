"""Who thinks up new prompts: a language model here, or one behind an OpenAI-compatible endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Protocol

from annotation.config import ModelSource
from annotation.endpoint import Chat, Endpoint, NoReply
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

    def __init__(self, url: str, model: str, *, temperature: float = 1.0) -> None:
        self._url, self._temperature = url.rstrip("/"), temperature
        self._endpoint = Endpoint(ModelSource(name=model, endpoint=self._url, timeout=60, tries=3))

    def propose(self, shots: Iterator[list[str]], count: int) -> Iterator[str]:
        """`count` answers, one request each, as they come; ApportionError where there is none to one."""
        chats = ((None, self._chat(examples)) for examples in islice(shots, count))
        for _, reply in self._endpoint.complete_all(chats):
            if isinstance(reply, NoReply):
                raise ApportionError(f"{self._url} failed: {reply.reason}")
            yield reply.text

    def _chat(self, examples: Sequence[str]) -> Chat:
        content = "\n".join([_INSTRUCTION, "", *(f"- {example}" for example in examples)])
        messages = [{"role": "user", "content": content}]
        return Chat(messages=messages, max_tokens=256, temperature=self._temperature)


def _as_list(examples: Sequence[str]) -> str:
    lines = [f"{number}. {example}" for number, example in enumerate(examples, start=1)]
    return "\n".join([_INTRODUCTION, *lines, f"{len(lines) + 1}."])
