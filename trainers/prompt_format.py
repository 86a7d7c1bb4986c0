"""How a prompt becomes the token ids that a policy continues."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from metrics.literal import encode, hide, restore
from pools.types import Prompt

Style = Literal["auto", "chat", "plain"]
_SPEAKERS = {"user": "Human", "assistant": "Assistant"}
_DUMMY_PREFIX = "\u2581"  # SentencePiece marks the space that it puts before the first word itself


def format_prompt(prompt: Prompt, tokenizer: Any, style: Style = "auto") -> str:
    """The text up to where the response begins.

    `chat` applies the tokenizer's chat template with its generation prompt; `plain` writes turns as in
    HH-RLHF (`\\n\\nHuman: ...\\n\\nAssistant:`); `auto` is `chat` where the tokenizer has a template.
    """
    return restore(_rendered(prompt, tokenizer, style), tokenizer)


def _rendered(prompt: Prompt, tokenizer: Any, style: Style) -> str:
    """The text of `format_prompt`, with control tokens that the prompt's own words hold hidden."""
    turns = [{**turn, "content": hide(turn["content"], tokenizer)} for turn in _turns(prompt)]
    if is_chat(tokenizer, style):
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    spoken = (
        f"\n\n{_SPEAKERS[turn['role']]}: {turn['content']}" for turn in turns if turn["role"] in _SPEAKERS
    )
    system = (turn["content"] for turn in turns if turn["role"] == "system")
    return "".join([*system, *spoken, "\n\nAssistant:"])


@dataclass(frozen=True)
class Rendering:
    """How a model's tokenizer takes prompts, and which it will not take."""

    tokenizer: Any
    style: Style = "auto"

    def text(self, prompt: Prompt) -> str:
        """The prompt as the model reads it."""
        return format_prompt(prompt, self.tokenizer, self.style)

    def refusal(self, prompt: Prompt) -> str:
        """Why the chat template makes nothing of a prompt; empty where it does."""
        from jinja2 import TemplateError

        try:
            text = _rendered(prompt, self.tokenizer, self.style)
        except (TemplateError, TypeError, ValueError) as error:
            return str(error).partition("\n")[0] or type(error).__name__
        return "" if text.strip() else "it renders as an empty text"


def tokenize_prompt(
    prompt: Prompt, tokenizer: Any, *, style: Style, max_tokens: int
) -> tuple[list[int], bool]:
    """Token ids of a prompt, and whether it was cut to `max_tokens`.

    A cut keeps the prompt's end, where the question is, and a plain prompt's beginning-of-text token.
    """
    chat = is_chat(tokenizer, style)
    ids = encode(_rendered(prompt, tokenizer, style), tokenizer, add_special_tokens=not chat)
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

    Control tokens in its words stay words. A response that is cut has no end token: it must not teach the policy to stop there.
    """
    text = hide(text, tokenizer)
    ids = encode(text, tokenizer)
    if not is_chat(tokenizer, style) and not _spaces_itself(ids, tokenizer):
        ids = encode(" " + text.lstrip(), tokenizer)
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
