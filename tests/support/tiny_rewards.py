"""Tiny local models for the tests of rewards: random, and saved as a user would have them."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from tokenizers.decoders import ByteLevel
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from metrics.config import RewardConfig
from metrics.reward.fitted import FitSample, stages
from pools.types import Example, Prompt, Response

_CHAT = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
_SIZES = {
    "vocab_size": 260,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.2,
    "pad_token_id": 0,
}


def save_decoder_reward(directory: Path, *, chat: bool = True, outputs: int = 1) -> Path:
    """A Llama with a classification head."""
    return _save(
        LlamaForSequenceClassification, LlamaConfig(**_SIZES, num_labels=outputs), directory, chat=chat
    )


def save_encoder_reward(directory: Path) -> Path:
    """A BERT of 64 positions that reads a pair of texts."""
    config = BertConfig(**_SIZES, num_labels=1, max_position_embeddings=64)
    return _save(BertForSequenceClassification, config, directory, pairs=True)


def save_base_model(directory: Path, *, hidden: int = 32, layers: int = 2, seed: int = 0) -> Path:
    """A Llama with a language-model head."""
    config = LlamaConfig(**{**_SIZES, "hidden_size": hidden, "num_hidden_layers": layers})
    return _save(LlamaForCausalLM, config, directory, chat=True, seed=seed)


def examples_rewarding(letter: str, *, prompts: int, responses: int = 4, seed: int = 0) -> list[Example]:
    """Answers of random letters, scored by the share of `letter` in them."""
    rng = random.Random(seed)
    texts = [
        ["".join(rng.choices("abcd ", k=rng.randint(8, 24))) for _ in range(responses)]
        for _ in range(prompts)
    ]
    return [
        Example(Prompt(f"Prompt {i}"), tuple(Response(text, text.count(letter) / len(text)) for text in row))
        for i, row in enumerate(texts)
    ]


def choose_tuned(sample: FitSample, directory: Path, config: RewardConfig) -> None:
    """Leave behind what folds of tuned layers find that order every unseen pair, so that these are chosen."""
    scores = np.array([response.score for example in sample.examples for response in example.responses])
    directory.mkdir(parents=True, exist_ok=True)
    for stage in stages(config)[:-1]:
        tensors = {"rows": np.arange(len(scores)), "values": scores}
        save_file(tensors, directory / f"{stage}.safetensors")


def _save(
    kind: type[PreTrainedModel],
    config: object,
    directory: Path,
    *,
    chat: bool = False,
    pairs: bool = False,
    seed: int = 0,
) -> Path:
    torch.manual_seed(seed)
    kind(config).save_pretrained(directory)
    _byte_tokenizer(chat=chat, pairs=pairs).save_pretrained(directory)
    return directory


def _byte_tokenizer(*, chat: bool, pairs: bool) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<pad>", "</s>", "[CLS]", "[SEP]"]
    core = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate([*special, *alphabet])}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = ByteLevel()
    marks = {"pad_token": "<pad>", "eos_token": "</s>"}
    if pairs:
        core.post_processor = TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
        )
        marks = {"pad_token": "<pad>", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"][:: 1 if pairs else 2],
        **marks,
    )
    tokenizer.chat_template = _CHAT if chat else None
    return tokenizer
