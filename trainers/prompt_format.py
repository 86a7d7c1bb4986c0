"""How a prompt becomes the token ids that a policy continues."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from pools.types import Prompt

Style = Literal["auto", "chat", "plain"]
_SPEAKERS = {"user": "Human", "assistant": "Assistant"}
_DUMMY_PREFIX = "\u2581"  # SentencePiece marks the space that it puts before the first word itself


def format_prompt(prompt: Prompt, tokenizer: Any, style: Style = "auto") -> str:
    """The text up to where the response begins.

    `chat` applies the tokenizer's chat template with its generation prompt; `plain` writes turns as in
    HH-RLHF (`\\n\\nHuman: ...\\n\\nAssistant:`); `auto` is `chat` where the tokenizer has a template.
    """
    if is_chat(tokenizer, style):
        return str(tokenizer.apply_chat_template(_turns(prompt), tokenize=False, add_generation_prompt=True))
    turns = (
        f"\n\n{_SPEAKERS[turn['role']]}: {turn['content']}"
        for turn in _turns(prompt)
        if turn["role"] in _SPEAKERS
    )
    system = (turn["content"] for turn in _turns(prompt) if turn["role"] == "system")
    return "".join([*system, *turns, "\n\nAssistant:"])


def tokenize_prompt(
    prompt: Prompt, tokenizer: Any, *, style: Style, max_tokens: int
) -> tuple[list[int], bool]:
    """Token ids of a prompt, and whether it was cut to `max_tokens`.

    A cut keeps the prompt's end, where the question is, and a plain prompt's beginning-of-text token.
    """
    chat = is_chat(tokenizer, style)
    ids = list(tokenizer.encode(format_prompt(prompt, tokenizer, style), add_special_tokens=not chat))
    if not chat and ids[-1:] == [tokenizer.eos_token_id]:
        ids.pop()  # some tokenizers close every text they are given
    if len(ids) <= max_tokens:
        return ids, False
    start = ids[:1] if not chat and ids[0] == tokenizer.bos_token_id else []
    return start + ids[len(ids) - (max_tokens - len(start)) :], True


def tokenize_prompts(
    prompts: Iterable[Prompt], tokenizer: Any, *, style: Style, max_tokens: int
) -> list[list[int]]:
    """Token ids of each prompt, as `tokenize_prompt` gives them: where generation starts from."""
    return [tokenize_prompt(prompt, tokenizer, style=style, max_tokens=max_tokens)[0] for prompt in prompts]


def tokenize_response(text: str, tokenizer: Any, *, style: Style, max_tokens: int) -> tuple[list[int], bool]:
    """Token ids of a response closed by the end-of-text token, and whether they were cut to `max_tokens`.

    A response that is cut has no end token: it must not teach the policy to stop there.
    """
    ids = list(tokenizer.encode(text, add_special_tokens=False))
    if not is_chat(tokenizer, style) and not _spaces_itself(ids, tokenizer):
        ids = list(tokenizer.encode(" " + text.lstrip(), add_special_tokens=False))
    ids.append(tokenizer.eos_token_id)
    return ids[:max_tokens], len(ids) > max_tokens


def is_chat(tokenizer: Any, style: Style) -> bool:
    """Whether `style` means the chat template for this tokenizer."""
    return style == "chat" or (style == "auto" and bool(tokenizer.chat_template))


def _spaces_itself(ids: list[int], tokenizer: Any) -> bool:
    return bool(ids) and str(tokenizer.convert_ids_to_tokens(ids[:1])[0]).startswith(_DUMMY_PREFIX)


def _turns(prompt: Prompt) -> list[dict[str, str]]:
    if isinstance(prompt.content, str):
        return [{"role": "user", "content": prompt.content}]
    return [{"role": turn.role, "content": turn.content} for turn in prompt.content]
