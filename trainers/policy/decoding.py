"""Attention of one new token per row over cached keys and values, on a CPU: quicker there than SDPA."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_OTHER_SCORES = ("softcap", "position_bias", "s_aux")  # options whose scores are not plain scaled products


def fits(query: Tensor, key: Tensor, mask: Tensor | None, options: dict[str, Any]) -> bool:
    """Whether `attend` computes this attention, and quicker than SDPA."""
    one_each = query.device.type == "cpu" and query.shape[2] == 1 and len(query) == len(key)
    one_mask = mask is None or (mask.dtype == torch.bool and mask.shape[1:3] == (1, 1))
    return one_each and one_mask and all(options.get(name) is None for name in _OTHER_SCORES)


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float) -> Tensor:
    """Softmax attention of `query` [B, H, 1, D] over `key` and `value` [B, G, S, D], G dividing H.

    `mask` [B, 1, 1, S] is true where a key is attended to (None: all are). Returns [B, H, 1, D]. In bfloat16
    scores are rounded before the softmax, which is computed in float32.
    """
    rows, groups, width = len(key), key.shape[1], key.shape[3]
    grouped = query.reshape(rows, groups, -1, width)
    precise = torch.promote_types(query.dtype, torch.float32)
    scores = (grouped @ key.transpose(2, 3)).to(precise) * scale
    if mask is not None:
        scores.masked_fill_(~mask, float("-inf"))
    return (scores.softmax(-1).to(value.dtype) @ value).reshape(rows, -1, 1, value.shape[3])
