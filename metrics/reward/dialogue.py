"""A prompt and a response as the token ids that a judging model reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

from metrics import literal
from metrics.config import RewardConfig
from pools.types import Message, Prompt

_SPEAKERS = {"user": "\n\nHuman: ", "assistant": "\n\nAssistant: ", "system": ""}
_SPECIAL_TOKENS = 8  # room for the marks that tokenizers add around and between the two texts


@dataclass(frozen=True)
class Window:
    """How much of each side is read (tokens): the prompt's end, the response's beginning."""

    prompt: int
    response: int

    @classmethod
    def of(cls, config: RewardConfig, model_config: Any) -> Window:
        """The configured window, shrunk in proportion where the model has fewer positions."""
        prompt, response = config.max_prompt_tokens, config.max_response_tokens
        positions = getattr(model_config, "max_position_embeddings", None) or prompt + response
        share = min(1.0, max(1, positions - _SPECIAL_TOKENS) / (prompt + response))
        return cls(max(1, int(prompt * share)), max(1, int(response * share)))


def encode(tokenizer: Any, prompt: Prompt, response: str, window: Window) -> tuple[list[int], list[int]]:
    """Token ids of the prompt and of the response after it, each cut to its side of the window.

    With the tokenizer's chat template where it has one (the response is closed as the template closes
    a turn), otherwise as turns of `Human:` and `Assistant:`, closed by the end-of-text token if there is one.
    """
    before, after = _texts(tokenizer, prompt, response)
    prompt_ids = literal.encode(before, tokenizer)
    response_ids = literal.encode(after, tokenizer)
    return prompt_ids[-window.prompt :], response_ids[: window.response]


def cut(tokenizer: Any, text: str, *, end: int | None = None, start: int | None = None) -> str:
    """`text`, or its last `end` or first `start` tokens where it is longer."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    kept = ids[-end:] if end is not None else ids[:start]
    return text if len(kept) == len(ids) else str(tokenizer.decode(kept))


def batches(lengths: Sequence[int], token_budget: int) -> Iterator[list[int]]:
    """Indices, longest first, in batches of at most `token_budget` tokens with padding (at least one row)."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > token_budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _texts(tokenizer: Any, prompt: Prompt, response: str) -> tuple[str, str]:
    turns = [Message(turn.role, literal.hide(turn.content, tokenizer)) for turn in _turns(prompt)]
    response = literal.hide(response, tokenizer)
    if not tokenizer.chat_template:
        before = "".join(_SPEAKERS[turn.role] + turn.content for turn in turns) + "\n\nAssistant:"
        return before, f" {response}{tokenizer.eos_token or ''}"
    dialogue = [{"role": turn.role, "content": turn.content} for turn in turns]
    opened = tokenizer.apply_chat_template(dialogue, tokenize=False, add_generation_prompt=True)
    answer = {"role": "assistant", "content": response}
    whole = tokenizer.apply_chat_template([*dialogue, answer], tokenize=False)
    # Some templates open a new answer with more than what they write before an old one.
    before = commonprefix([opened, whole])
    return before, whole[len(before) :]


def _turns(prompt: Prompt) -> Sequence[Message]:
    return (Message("user", prompt.content),) if isinstance(prompt.content, str) else prompt.content
