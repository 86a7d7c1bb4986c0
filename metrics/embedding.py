"""How far apart prompts lie in a sentence-embedding space: two baseline metrics that need a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from base.errors import ApportionError, loading
from base.progress_bars import without_progress_bars

_BATCH = 64
_MAX_TOKENS = 512


class Spread:
    """Mean pairwise distance and Vendi score of unit vectors, from sums that do not grow with n."""

    def __init__(self, width: int) -> None:
        self._count = 0
        self._sum = np.zeros(width)
        self._products = np.zeros((width, width))

    def add(self, vectors: NDArray[Any]) -> None:
        """Add vectors of length 1, shape [n, width]."""
        wide = vectors.astype(np.float64)
        self._count += len(wide)
        self._sum += wide.sum(0)
        self._products += wide.T @ wide

    def mean_distance(self) -> float:
        """Mean of 1 - cosine over all pairs, in [0, 2]; 0 for fewer than two vectors.

        It is a matter of the extremes: two tight clusters far apart score as high as an even spread.
        """
        pairs = self._count * (self._count - 1)
        return 1.0 - float(self._sum @ self._sum - self._count) / pairs if pairs else 0.0

    def vendi_score(self) -> float:
        """The effective number of different vectors, from 1 to their number (or width); 0 for none.

        The exponential of the entropy of the eigenvalues of the cosine matrix over n (Friedman and Dieng
        2023, arXiv 2210.02410), worked out on the width x width matrix that shares them. It cannot pass the
        width, and similar sentences lie close in most spaces, so that it flattens early with n.
        """
        if not self._count:
            return 0.0
        values = np.linalg.eigvalsh(self._products / self._count)
        kept = values[values > 1e-12]
        return float(np.exp(-(kept * np.log(kept)).sum()))


class SentenceEmbedder:
    """Unit vectors of texts: the mean of a model's last hidden states over each text's tokens.

    `model` is a folder or hub id of any encoder (or decoder) that `transformers` loads; most
    sentence-embedding models are made for this pooling. Texts are cut to 512 tokens, or to what the
    model takes.
    """

    def __init__(self, model: str, device: str = "cpu") -> None:
        from transformers import AutoModel, AutoTokenizer

        with loading(f'the embedding model "{model}"', ApportionError), without_progress_bars():
            self._tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
            self._model = (
                AutoModel.from_pretrained(model, use_safetensors=True, trust_remote_code=False)
                .to(device)
                .eval()
            )
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        longest = getattr(self._model.config, "max_position_embeddings", _MAX_TOKENS)
        self._max_tokens = min(_MAX_TOKENS, longest, self._tokenizer.model_max_length)
        self.width = int(self._model.config.hidden_size)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of shape [texts, width], in order; a text without a token becomes the zero vector."""
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        vectors = np.empty((len(texts), self.width), np.float32)
        for start in range(0, len(texts), _BATCH):
            rows = order[start : start + _BATCH]
            vectors[rows] = self._batch([texts[row] for row in rows])
        return vectors

    def _batch(self, texts: list[str]) -> NDArray[np.float32]:
        import torch

        inputs = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self._max_tokens, return_tensors="pt"
        ).to(self._model.device)
        if not inputs["input_ids"].numel():
            return np.zeros((len(texts), self.width), np.float32)
        with torch.no_grad():
            states = self._model(**inputs).last_hidden_state.float()
        mask = inputs["attention_mask"].unsqueeze(-1)
        mean = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        unit: NDArray[np.float32] = torch.nn.functional.normalize(mean, dim=-1).cpu().numpy()
        return unit


def check_embedding_model(model: str) -> None:
    """Raise ApportionError where there is no such model; nothing but its configuration is read."""
    from transformers import AutoConfig

    with loading(f'the embedding model "{model}"', ApportionError):
        AutoConfig.from_pretrained(model, trust_remote_code=False)


def embed_texts(texts: Sequence[str], model: str) -> NDArray[np.float32]:
    """Unit vectors of `texts`, shape [texts, width]; ApportionError where `model` cannot be loaded."""
    return SentenceEmbedder(model).embed(texts)


def embedding_baselines(vectors: NDArray[np.float32]) -> dict[str, float]:
    """`embedding_distance` and `vendi_score` of [n, width] vectors; see `Spread` for formulas and limits."""
    spread = Spread(vectors.shape[1])
    spread.add(vectors)
    return baselines_of(spread)


def baselines_of(spread: Spread) -> dict[str, float]:
    """The two baseline metrics by name."""
    return {"embedding_distance": spread.mean_distance(), "vendi_score": spread.vendi_score()}
