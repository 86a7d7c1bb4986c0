"""Attention over a row in which each prompt stands once and its responses see it and themselves only.

The row is never attended to as a whole: the prompt attends to itself, each response to prompt + itself.
On a CPU that costs a handful of small matrix products per response and no mask over the row; on a GPU
one call with a dense mask is quicker than many small ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from trainers.batching import Segment

ATTENTION = "apportion_shared_prefix"


def register() -> None:
    """Make `ATTENTION` known to transformers; without segments it is its SDPA, so that generation works."""
    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    segments: Sequence[Segment] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    if segments is None:
        out, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return out, None
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    return segment_attention(query[0], key[0], value[0], segments, scale).transpose(0, 1)[None], None


def segment_attention(
    query: Tensor, key: Tensor, value: Tensor, segments: Sequence[Segment], scale: float
) -> Tensor:
    """Shared-prefix attention of a packed row.

    `query` is [H, T, D], `key` and `value` are [G, T, D] with G dividing H (grouped queries). Returns
    [H, T, D].
    """
    out: Tensor = _SegmentAttention.apply(query, key, value, tuple(segments), scale)  # type: ignore[no-untyped-call]
    return out


def row_mask(segments: Sequence[Segment], device: torch.device) -> Tensor:
    """[1, 1, T, T] bool: which key each token of a packed row may see, for attention that takes a mask."""
    total = segments[-1].stop
    mask = torch.zeros(total, total, dtype=torch.bool, device=device)
    for segment in segments:
        for start, stop in spans(segment):
            mask[start:stop, segment.start : segment.start + segment.prompt] = True
            mask[start:stop, start:stop] = True
    return mask.tril()[None, None]


def spans(segment: Segment) -> list[tuple[int, int]]:
    """Start and stop in the row of the segment's prompt and of each of its responses that is not empty."""
    edges = [segment.start, segment.start + segment.prompt]
    for length in segment.responses:
        edges.append(edges[-1] + length)
    return [(start, stop) for start, stop in zip(edges, edges[1:], strict=False) if stop > start]


class _SegmentAttention(torch.autograd.Function):
    """Softmax attention span by span with plain matrix products, gradients written into one buffer each."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, segments: tuple[Segment, ...], scale: float
    ) -> Tensor:
        groups, total, width = key.shape
        grouped = (query * scale).view(groups, -1, total, width)
        out = torch.empty_like(grouped)
        weights: list[Tensor] = []
        future = _future(segments, query.device)
        for segment in segments:
            for start, stop in spans(segment):
                keys, values = _visible(key, segment, start, stop), _visible(value, segment, start, stop)
                span = grouped[:, :, start:stop].flatten(1, 2)
                weight = _causal_softmax(span @ keys.transpose(1, 2), future[: stop - start, : stop - start])
                out[:, :, start:stop] = (weight @ values).view(groups, -1, stop - start, width)
                weights.append(weight)
        ctx.save_for_backward(grouped, key, value, *weights)
        ctx.segments, ctx.scale = segments, scale
        return out.view_as(query)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grouped, key, value, *weights = ctx.saved_tensors
        grad = grads[0].view_as(grouped)
        d_query, d_key, d_value = torch.empty_like(grouped), torch.zeros_like(key), torch.zeros_like(value)
        groups, _, width = key.shape
        remaining = iter(weights)
        for segment in ctx.segments:
            for start, stop in spans(segment):
                keys, values = _visible(key, segment, start, stop), _visible(value, segment, start, stop)
                weight, span_grad = next(remaining), grad[:, :, start:stop].flatten(1, 2)
                d_weight = span_grad @ values.transpose(1, 2)
                d_score = torch._softmax_backward_data(d_weight, weight, -1, weight.dtype)
                _add_visible(d_value, weight.transpose(1, 2) @ span_grad, segment, start, stop)
                span = grouped[:, :, start:stop].flatten(1, 2)
                _add_visible(d_key, d_score.transpose(1, 2) @ span, segment, start, stop)
                d_query[:, :, start:stop] = (d_score @ keys).view(groups, -1, stop - start, width)
        return (d_query * ctx.scale).flatten(0, 1), d_key, d_value, None, None


def _visible(row: Tensor, segment: Segment, start: int, stop: int) -> Tensor:
    """Keys or values [G, S, D] that the span start..stop sees: its prompt, then itself."""
    if start == segment.start:
        return row[:, start:stop]
    return torch.cat([row[:, segment.start : segment.start + segment.prompt], row[:, start:stop]], dim=1)


def _add_visible(row: Tensor, grad: Tensor, segment: Segment, start: int, stop: int) -> None:
    own = stop - start
    row[:, start:stop] += grad[:, -own:]
    if start != segment.start:
        row[:, segment.start : segment.start + segment.prompt] += grad[:, :-own]


def _future(segments: Sequence[Segment], device: torch.device) -> Tensor:
    """[L, L] bool, L the longest span: whether the key comes after the query."""
    longest = max(stop - start for segment in segments for start, stop in spans(segment))
    return torch.ones(longest, longest, dtype=torch.bool, device=device).triu(1)


def _causal_softmax(scores: Tensor, future: Tensor) -> Tensor:
    """Softmax of scores [G, heads a group x L, S], the last L keys being the span itself; overwrites them."""
    length = len(future)
    by_head = scores.view(len(scores), -1, length, scores.shape[2])
    by_head[..., -length:].masked_fill_(future, float("-inf"))
    return scores.softmax(-1)
