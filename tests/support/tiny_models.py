"""Small models, a byte tokenizer and random rankings for the tests of trainers."""

from __future__ import annotations

import random

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel, PreTrainedTokenizerFast

from trainers.policy.batching import Ranking

VOCABULARY = 97
CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</{{ m['role'] }}>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def tiny_llama(**changes: object) -> PreTrainedModel:
    """Two layers with grouped queries, and weights large enough for attention to matter."""
    sizes = {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.3,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    return build(LlamaConfig(**{**sizes, **changes}))


def build(config: object, seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config).eval()


def byte_tokenizer(*, chat: bool = False) -> PreTrainedTokenizerFast:
    """One token a byte; token 0 pads, 1 begins, 2 ends a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<pad>", "<s>", "</s>", *alphabet])}
    core = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    tokenizer.chat_template = CHAT_TEMPLATE if chat else None
    return tokenizer


def random_ranking(rng: random.Random, k: int, *, longest: int = 9, reference: bool = False) -> Ranking:
    def words(most: int) -> list[int]:
        return [rng.randrange(3, VOCABULARY) for _ in range(rng.randint(1, most))]

    scores = tuple(sorted((rng.random() for _ in range(k)), reverse=True))
    old = tuple(-10 * rng.random() for _ in range(k)) if reference else None
    return Ranking(words(longest), tuple(words(longest) for _ in range(k)), scores, old)


def random_rankings(seed: int, sizes: tuple[int, ...], **options: object) -> list[Ranking]:
    rng = random.Random(seed)
    return [random_ranking(rng, k, **options) for k in sizes]
