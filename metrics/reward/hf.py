"""A reward model from Hugging Face: sequence classification with one output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from base.batching import padded_batches
from base.errors import RewardError, loading
from base.progress_bars import without_progress_bars
from metrics.config import RewardConfig
from metrics.reward.base import RewardSource, check_pairs, checked_scores
from metrics.reward.dialogue import Window, cut, encode
from pools.types import Prompt


class HFReward:
    """Sigmoid of the single logit of a sequence-classification model.

    Decoders read the dialogue by their chat template (or as Human/Assistant turns); encoders without a
    template read prompt and response as a pair of texts. Only safetensors are read, and no code from the
    model's repository is run. Raises `RewardError` where the model cannot be loaded, has more than one
    output, or its file holds no weights for its head (a plain language model).
    """

    def __init__(self, model: str, *, config: RewardConfig, device: str) -> None:
        self._model, self._tokenizer = _load(model, device)
        self._window = Window.of(config, self._model.config)
        self._batch_tokens = config.batch_tokens

    def score(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> list[float]:
        """See `RewardModel.score`."""
        import torch

        check_pairs(prompts, responses)
        rows = [self._encode(*pair) for pair in zip(prompts, responses, strict=True)]
        scores = [0.0] * len(rows)
        with torch.inference_mode():
            for batch in padded_batches([len(row["input_ids"]) for row in rows], self._batch_tokens):
                padded = self._tokenizer.pad([rows[index] for index in batch], return_tensors="pt")
                logits = self._model(**padded.to(self._model.device)).logits[:, 0]
                for index, score in zip(batch, logits.double().sigmoid().tolist(), strict=True):
                    scores[index] = score
        return checked_scores(scores, expected=len(prompts))

    def _encode(self, prompt: Prompt, response: str) -> dict[str, list[int]]:
        tokenizer, window = self._tokenizer, self._window
        if tokenizer.chat_template or not tokenizer.sep_token:
            before, after = encode(tokenizer, prompt, response, window)
            ids = before + after
            return {"input_ids": ids, "attention_mask": [1] * len(ids)}
        first = cut(tokenizer, prompt.text, end=window.prompt)
        return dict(tokenizer(first, cut(tokenizer, response, start=window.response)))


def load(config: RewardConfig, source: RewardSource) -> HFReward:
    """The sequence-classification model that `config.model` names."""
    assert config.model is not None  # which RewardConfig checks
    return HFReward(config.model, config=config, device=source.device)


def _load(name: str, device: str) -> tuple[Any, Any]:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    with loading(f"the reward model {name!r}", RewardError), without_progress_bars():
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        model, report = AutoModelForSequenceClassification.from_pretrained(
            name, dtype="auto", use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    if missing := sorted(report["missing_keys"]):
        raise RewardError(f"{name!r} is no trained reward model: its file holds no weights for {missing[0]}")
    if model.config.num_labels != 1:
        raise RewardError(
            f"the reward model {name!r} has {model.config.num_labels} outputs; need exactly one"
        )
    tokenizer.padding_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    return model.to(device).eval(), tokenizer
