"""Token ids of prompts and responses, as a policy reads and writes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from metrics.chat import Style, is_chat, render_prompt
from metrics.literal import encode, hide, restore
from pools.types import Prompt

_DUMMY_PREFIX = "\u2581"  # SentencePiece's mark of a space that it puts before the first word


@dataclass(frozen=True)
class Rendering:
    """How a model's tokenizer takes prompts, and which it does not take."""

    tokenizer: Any
    style: Style = "auto"

    def text(self, prompt: Prompt) -> str:
        """The prompt as the model reads it."""
        return restore(render_prompt(prompt, self.tokenizer, self.style), self.tokenizer)

    def refusal(self, prompt: Prompt) -> str:
        """Why the chat template cannot render a prompt; empty where it can."""
        from jinja2 import TemplateError

        try:
            text = render_prompt(prompt, self.tokenizer, self.style)
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
    ids = encode(render_prompt(prompt, tokenizer, style), tokenizer, add_special_tokens=not chat)
    if not chat and ids[-1:] == [tokenizer.eos_token_id]:
        ids.pop()  # some tokenizers append it to every text
    if len(ids) <= max_tokens:
        return ids, False
    start = ids[:1] if not chat and ids[0] == tokenizer.bos_token_id else []
    return start + ids[len(ids) - (max_tokens - len(start)) :], True


def tokenize_prompts(
    prompts: Iterable[Prompt], tokenizer: Any, *, style: Style, max_tokens: int
) -> list[list[int]]:
    """Token ids of each prompt, as `tokenize_prompt` gives them: what generation continues."""
    return [tokenize_prompt(prompt, tokenizer, style=style, max_tokens=max_tokens)[0] for prompt in prompts]


def tokenize_response(text: str, tokenizer: Any, *, style: Style, max_tokens: int) -> tuple[list[int], bool]:
    """Token ids of a response closed by the end-of-text token, and whether they were cut to `max_tokens`.

    Control tokens in its words stay words. A response that is cut has no end token: the policy must not learn
    to stop there.
    """
    text = hide(text, tokenizer)
    ids = encode(text, tokenizer)
    if not is_chat(tokenizer, style) and not _spaces_itself(ids, tokenizer):
        ids = encode(" " + text.lstrip(), tokenizer)
    ids.append(tokenizer.eos_token_id)
    return ids[:max_tokens], len(ids) > max_tokens


def _spaces_itself(ids: list[int], tokenizer: Any) -> bool:
    return bool(ids) and str(tokenizer.convert_ids_to_tokens(ids[:1])[0]).startswith(_DUMMY_PREFIX)
