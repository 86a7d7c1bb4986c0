"""Frozen features of a base model: the inputs of the fitted reward's head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from base.batching import padded_batches
from base.errors import RewardError, loading
from metrics.config import RewardConfig
from metrics.reward.dialogue import Window, encode
from pools.types import Prompt

# The last layers are shaped to predict the next token. In an exploration on AlpacaEval with SmolLM2-135M,
# layer 20 of 30 ordered pairs a little better than the last (0.74 against 0.71, standard error 0.015, the
# layer picked on the same prompts), and what lies above need not be computed.
DEPTH = 2 / 3

Matrix = NDArray[np.float32]
Progress = Callable[[int], None]


class Features:
    """Hidden states of a causal language model, `DEPTH` of its layers up, over an answer given its prompt."""

    def __init__(self, base_model: str, *, config: RewardConfig, device: str) -> None:
        self._model, self._tokenizer = _load(base_model, device)
        self._window = Window.of(config, self._model.config)
        self._batch_tokens = config.batch_tokens

    @property
    def width(self) -> int:
        """Number of features of one answer."""
        return 2 * int(self._model.config.hidden_size)

    def __call__(
        self, prompts: Sequence[Prompt], responses: Sequence[str], progress: Progress | None = None
    ) -> Matrix:
        """[N, 2 * hidden] float32: the mean over the response's tokens, then its last token's state.

        `progress` is called with the number of pairs done after each batch.
        """
        pairs = zip(prompts, responses, strict=True)
        rows = [encode(self._tokenizer, prompt, response, self._window) for prompt, response in pairs]
        features = np.zeros((len(rows), self.width), dtype=np.float32)
        lengths = [len(before) + len(after) for before, after in rows]
        for batch in padded_batches(lengths, self._batch_tokens):
            features[batch] = self._read([rows[index] for index in batch])
            if progress:
                progress(len(batch))
        return features

    def _read(self, rows: Sequence[tuple[list[int], list[int]]]) -> Matrix:
        import torch

        width = max(len(before) + len(after) for before, after in rows)
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        response = torch.zeros((len(rows), width))
        for row, (before, after) in enumerate(rows):
            end = len(before) + len(after)
            ids[row, :end] = torch.tensor(before + after)
            response[row, len(before) : end] = 1.0
        device = self._model.device
        response = response.to(device)
        with torch.inference_mode():
            # Padding follows the text, which a causal model does not attend to.
            states = self._model(input_ids=ids.to(device), use_cache=False).last_hidden_state.float()
        mean = torch.einsum("bth,bt->bh", states, response) / response.sum(1, keepdim=True)
        ends = torch.tensor([len(before) + len(after) - 1 for before, after in rows], device=device)
        last = states[torch.arange(len(rows), device=device), ends]
        matrix: Matrix = torch.cat([mean, last], dim=1).cpu().numpy()
        return matrix


def _load(name: str, device: str) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    with loading(f"the base model {name!r} for the fitted reward", RewardError):
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        model = AutoModel.from_pretrained(name, dtype="auto", use_safetensors=True, trust_remote_code=False)
    _keep_lower_layers(model)
    return model.to(device).eval(), tokenizer


def _keep_lower_layers(model: Any) -> None:
    """Drop the layers above `DEPTH`, so that they are never computed; the final norm stays."""
    from torch.nn import ModuleList

    layers = model.config.num_hidden_layers
    stacks = [
        (parent, name)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, ModuleList) and len(child) == layers
    ]
    for parent, name in stacks:
        setattr(parent, name, getattr(parent, name)[: max(1, round(DEPTH * layers))])
