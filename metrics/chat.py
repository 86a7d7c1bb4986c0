"""A dialogue rendered as text: the same for the policy that continues it and the models that score it."""

from __future__ import annotations

from typing import Any, Literal

from metrics.literal import hide
from pools.types import Prompt

Style = Literal["auto", "chat", "plain"]
_SPEAKERS = {"user": "Human", "assistant": "Assistant"}


def render_prompt(prompt: Prompt, tokenizer: Any, style: Style = "auto") -> str:
    """The text up to where the response begins.

    `chat` applies the tokenizer's chat template with its generation prompt; `plain` writes turns as in
    HH-RLHF (`\\n\\nHuman: ...\\n\\nAssistant:`), system messages first; `auto` is `chat` where the tokenizer
    has a template. Control tokens in the prompt's own words are hidden, for `metrics.literal.encode`.
    """
    turns = chat_turns(prompt, tokenizer)
    if is_chat(tokenizer, style):
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    system = (turn["content"] for turn in turns if turn["role"] == "system")
    spoken = (
        f"\n\n{_SPEAKERS[turn['role']]}: {turn['content']}" for turn in turns if turn["role"] in _SPEAKERS
    )
    return "".join([*system, *spoken, "\n\nAssistant:"])


def is_chat(tokenizer: Any, style: Style = "auto") -> bool:
    """Whether `style` means the chat template for this tokenizer."""
    return style == "chat" or (style == "auto" and bool(tokenizer.chat_template))


def chat_turns(prompt: Prompt, tokenizer: Any) -> list[dict[str, str]]:
    """The prompt as `apply_chat_template` takes it, with control tokens in its words hidden.

    A plain text is one turn of the user.
    """
    if isinstance(prompt.content, str):
        return [{"role": "user", "content": hide(prompt.content, tokenizer)}]
    return [{"role": turn.role, "content": hide(turn.content, tokenizer)} for turn in prompt.content]
