"""The keys and values of a batch that is being decoded, kept so that neither a new token nor a finished row
costs a copy of all the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_ROOM = 64  # tokens more than are needed now, wherever a layer runs out of room


class RoomyLayer(DynamicLayer):
    """Keys and values [B, G, S, D] as views of buffers with room to grow into, along S."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append the states of new tokens; returns all keys and all values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self._buffers = [key_states[..., :0, :], value_states[..., :0, :]]
        start = self.get_seq_length()
        stop = start + key_states.shape[-2]
        if stop > self._buffers[0].shape[-2]:
            self._buffers = [_widened(buffer, start, stop + _ROOM) for buffer in self._buffers]
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[..., start:stop, :] = states
        self.keys, self.values = (buffer[..., :stop, :] for buffer in self._buffers)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Only keep the rows `indices`; those that keep their place are not copied.

        A row that moves must go to the place of one that is not kept.
        """
        if not self.is_initialized:
            return
        places = torch.arange(len(indices), device=indices.device)
        moved = indices != places
        for buffer, used in zip(self._buffers, (self.keys, self.values), strict=True):
            buffer[places[moved], :, : used.shape[-2]] = used[indices[moved]]
        self._buffers = [buffer[: len(indices)] for buffer in self._buffers]
        self.keys, self.values = (states[: len(indices)] for states in (self.keys, self.values))


def roomy_cache(config: Any) -> DynamicCache:
    """An empty cache for a model with this `config`; layers that see all tokens are `RoomyLayer`s."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def can_join(config: Any) -> bool:
    """Whether caches of models with this `config` can be joined: every layer sees all tokens."""
    return all(isinstance(layer, RoomyLayer) for layer in roomy_cache(config).layers)


def joined(config: Any, parts: Sequence[DynamicCache]) -> DynamicCache:
    """One cache with the rows of all `parts`, in order, padded on the left with zeros to the longest."""
    if len(parts) == 1:
        return parts[0]
    cache = roomy_cache(config)
    width = max(part.get_seq_length() for part in parts)
    for layer, *others in zip(cache.layers, *(part.layers for part in parts), strict=True):
        if all(other.is_initialized for other in others):
            keys, values = ([_padded(getattr(o, name), width) for o in others] for name in ("keys", "values"))
            layer.update(torch.cat(keys), torch.cat(values))
    return cache


def _padded(states: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(states, (0, 0, width - states.shape[-2], 0))


def _widened(buffer: Tensor, used: int, tokens: int) -> Tensor:
    wider = buffer.new_empty(*buffer.shape[:-2], tokens, buffer.shape[-1])
    wider[..., :used, :] = buffer[..., :used, :]
    return wider
