"""A prompt and a response as the token ids that a reward model reads."""

from __future__ import annotations

from dataclasses import dataclass
from os.path import commonprefix
from typing import Any

from metrics import literal
from metrics.chat import chat_turns, is_chat, render_prompt
from metrics.config import RewardConfig
from pools.types import Prompt

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


def _texts(tokenizer: Any, prompt: Prompt, response: str) -> tuple[str, str]:
    opened = render_prompt(prompt, tokenizer)
    response = literal.hide(response, tokenizer)
    if not is_chat(tokenizer):
        return opened, f" {response}{tokenizer.eos_token or ''}"
    answer = {"role": "assistant", "content": response}
    whole = tokenizer.apply_chat_template([*chat_turns(prompt, tokenizer), answer], tokenize=False)
    # Some templates open a new answer with more than what they write before an old one.
    before = commonprefix([opened, whole])
    return before, whole[len(before) :]
