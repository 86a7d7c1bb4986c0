"""A dialogue reads the same for the policy that continues it and for the reward model that scores it."""

from __future__ import annotations

import pytest
from support.tiny_models import byte_tokenizer

from metrics.chat import render_prompt
from metrics.reward.dialogue import Window, encode
from pools.types import Message, Prompt
from trainers.prompt_format import tokenize_prompt

TOKENIZER = byte_tokenizer()
CHAT = byte_tokenizer(chat=True)
DIALOGUE = Prompt((Message("user", "hi"), Message("assistant", "hello"), Message("user", "why")))
SYSTEM = Prompt((Message("system", "Be brief."), Message("user", "hi")))


def test_formats() -> None:
    assert (
        render_prompt(DIALOGUE, TOKENIZER) == "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: why\n\nAssistant:"
    )
    expected = "<user>hi</user><assistant>hello</assistant><user>why</user><assistant>"
    assert render_prompt(DIALOGUE, CHAT) == expected
    assert render_prompt(Prompt("hi"), CHAT, "plain") == "\n\nHuman: hi\n\nAssistant:"
    assert render_prompt(SYSTEM, TOKENIZER) == "Be brief.\n\nHuman: hi\n\nAssistant:"


@pytest.mark.parametrize("prompt", [DIALOGUE, SYSTEM, Prompt("hi")])
@pytest.mark.parametrize("tokenizer", [TOKENIZER, CHAT], ids=["plain", "chat"])
def test_policy_and_reward_model_read_the_same_prompt(prompt: Prompt, tokenizer: object) -> None:
    policy, cut = tokenize_prompt(prompt, tokenizer, style="auto", max_tokens=500)
    reward, _ = encode(tokenizer, prompt, "yes", Window(500, 500))
    assert policy == reward and not cut
