"""A cache of keys and values in which neither a new token nor a finished row costs a copy of all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_SPARE = 32  # tokens allocated beyond those needed whenever a layer is full


class PreallocatedLayer(DynamicLayer):
    """Keys and values [B, G, W, D] of which the first tokens along W are used, and the others zeros.

    Attention gets all of them, since matrix products would copy a part that is not contiguous; the mask,
    which transformers makes for W keys, hides the unused ones.
    """

    _used = 0

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append the states of new tokens; returns all keys and all values, unused ones included."""
        start, added = self._used, key_states.shape[-2]
        width, _offset = self.get_mask_sizes(added)
        self._used += added
        if not start:
            self.lazy_initialization(key_states, value_states)
            self.keys, self.values = key_states.contiguous(), value_states.contiguous()
            return self.keys, self.values
        if width > self.keys.shape[-2]:
            self.keys, self.values = _widened(self.keys, width), _widened(self.values, width)
        self.keys[..., start : self._used, :] = key_states
        self.values[..., start : self._used, :] = value_states
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Tokens used."""
        return self._used

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """W after `query_length` further tokens, and the offset of the first, 0."""
        used, width = self._used + query_length, self.keys.shape[-2] if self._used else query_length
        return width if used <= width else used + _SPARE, 0

    def batch_select_indices(self, indices: Tensor) -> None:
        """Only keep the rows `indices`; those that keep their index are not copied.

        A row that moves must take the index of one that is dropped.
        """
        if not self.is_initialized:
            return
        targets = torch.arange(len(indices), device=indices.device)
        moved = indices != targets
        for states in (self.keys, self.values):
            states[targets[moved]] = states[indices[moved]]
        self.keys, self.values = self.keys[: len(indices)], self.values[: len(indices)]


def empty_cache(model: Any) -> DynamicCache:
    """A cache for `model`; layers that attend to all tokens are `PreallocatedLayer`s.

    Not where the model computes attention itself: it may add to the scores a bias sized for used keys only.
    """
    cache = DynamicCache(config=model.config)
    if model.is_backend_compatible():
        cache.layers = [
            PreallocatedLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers
        ]
    return cache


def can_join(model: Any) -> bool:
    """Whether caches of `model` can be joined: every layer attends to all tokens."""
    return all(type(layer) in (PreallocatedLayer, DynamicLayer) for layer in empty_cache(model).layers)


def joined(model: Any, parts: Sequence[DynamicCache]) -> DynamicCache:
    """One cache with the rows of all `parts`, in order, padded on the left with zeros to the longest."""
    if len(parts) == 1:
        return parts[0]
    cache = empty_cache(model)
    width = max(part.get_seq_length() for part in parts)
    for layer, *others in zip(cache.layers, *(part.layers for part in parts), strict=True):
        if all(other.is_initialized for other in others):
            keys, values = ([_padded(getattr(o, name), width) for o in others] for name in ("keys", "values"))
            layer.update(torch.cat(keys), torch.cat(values))
    return cache


def _padded(states: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(states, (0, 0, width - states.shape[-2], 0))


def _widened(states: Tensor, tokens: int) -> Tensor:
    """`states` with zeros after them."""
    return torch.nn.functional.pad(states, (0, 0, 0, tokens - states.shape[-2]))
