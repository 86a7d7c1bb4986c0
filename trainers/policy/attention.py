"""Attention over a row that holds each prompt once, followed by its responses.

A prompt attends to itself, a response to its prompt and itself. On a CPU that costs a handful of small matrix
products per response and no mask over the row. On a GPU one
call for the whole row is quicker than many small ones: FlexAttention (`trainers.policy.flex`), or SDPA
with a mask.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from trainers.models import without_adapters
from trainers.policy import decoding, flex
from trainers.policy.batching import Segment
from trainers.policy.visibility import spans

ATTENTION = "apportion_shared_prefix"
_BLOCK = 128  # queries scored at one time; scores of later keys are wasted within a block only


def register() -> None:
    """Register `ATTENTION` with transformers; without a layout it computes what SDPA does, for decoding."""
    AttentionInterface.register(ATTENTION, _attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)


@contextmanager
def answering(model: Any) -> Iterator[None]:
    """Within the block `model` (also under peft) decodes without dropout, with `ATTENTION`."""
    lm = without_adapters(model)
    training, before = model.training, lm.config._attn_implementation
    if before == "sdpa" and lm.is_backend_compatible():
        register()
        lm.set_attn_implementation(ATTENTION)
    model.eval()
    try:
        yield
    finally:
        model.train(training)
        if lm.config._attn_implementation != before:
            lm.set_attn_implementation(before)


def _attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    segments: Sequence[Segment] | None = None,
    blocks: BlockMask | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if blocks is not None:
        return flex.attend(query, key, value, blocks, scale).transpose(1, 2), None
    if segments is None:
        if decoding.fits(query, key, attention_mask, kwargs):
            return decoding.attend(query, key, value, attention_mask, scale).transpose(1, 2), None
        out, _ = sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
        return out, None
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


class _SegmentAttention(torch.autograd.Function):
    """Softmax attention block by block with plain matrix products, gradients written into one buffer each.

    Scores are float32 at least, as in SDPA: rounded to bfloat16 they made a gradient's error a third
    larger. So are the gradients of keys and values: a prompt's are sums over its responses.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, segments: tuple[Segment, ...], scale: float
    ) -> Tensor:
        groups, total, width = key.shape
        precise = _precise(key.dtype)
        grouped = (query.to(precise) * scale).view(groups, -1, total, width)
        out = torch.empty_like(grouped, dtype=key.dtype)
        weights: list[Tensor] = []
        future = torch.ones(_BLOCK, _BLOCK, dtype=torch.bool, device=query.device).triu(1)
        for segment, start, stop in _spans(segments):
            keys = _visible(key, segment, start, stop).to(precise)
            values = _visible(value, segment, start, stop)
            for rows, seen in _blocks(start, stop, keys.shape[1]):
                block = grouped[:, :, rows].flatten(1, 2)
                weight = _causal_softmax(block @ keys[:, :seen].transpose(1, 2), future, rows).to(key.dtype)
                out[:, :, rows] = (weight @ values[:, :seen]).view(groups, -1, rows.stop - rows.start, width)
                weights.append(weight)
        ctx.save_for_backward(query, key, value, *weights)
        ctx.segments, ctx.scale = segments, scale
        return out.flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *weights = ctx.saved_tensors
        grouped = query.view(len(key), -1, *query.shape[1:])
        grad = grads[0].view_as(grouped)
        d_query = torch.empty_like(grouped)
        d_key, d_value = (torch.zeros_like(row, dtype=_precise(row.dtype)) for row in (key, value))
        groups, _, width = key.shape
        remaining = iter(weights)
        for segment, start, stop in _spans(ctx.segments):
            keys, values = _visible(key, segment, start, stop), _visible(value, segment, start, stop)
            for rows, seen in _blocks(start, stop, keys.shape[1]):
                weight, block_grad = next(remaining), grad[:, :, rows].flatten(1, 2)
                d_weight = block_grad @ values[:, :seen].transpose(1, 2)
                d_score = torch._softmax_backward_data(d_weight, weight, -1, weight.dtype)
                _add_visible(d_value, weight.transpose(1, 2) @ block_grad, segment, start, rows.stop)
                block = grouped[:, :, rows].flatten(1, 2)
                _add_visible(d_key, d_score.transpose(1, 2) @ block, segment, start, rows.stop)
                d_query[:, :, rows] = (d_score @ keys[:, :seen]).view(
                    groups, -1, rows.stop - rows.start, width
                )
        return (d_query * ctx.scale).flatten(0, 1), (d_key * ctx.scale).to(key), d_value.to(value), None, None


def _spans(segments: Sequence[Segment]) -> Iterator[tuple[Segment, int, int]]:
    for segment in segments:
        yield from ((segment, start, stop) for start, stop in spans(segment))


def _blocks(start: int, stop: int, visible: int) -> Iterator[tuple[slice, int]]:
    """Rows of the span start..stop a few at a time, and how many of its `visible` keys they attend to."""
    for first in range(start, stop, _BLOCK):
        last = min(first + _BLOCK, stop)
        yield slice(first, last), visible - (stop - last)


def _visible(row: Tensor, segment: Segment, start: int, stop: int) -> Tensor:
    """Keys or values [G, S, D] that the span start..stop attends to: its prompt, then itself."""
    if start == segment.start:
        return row[:, start:stop]
    return torch.cat([row[:, segment.start : segment.start + segment.prompt], row[:, start:stop]], dim=1)


def _add_visible(row: Tensor, grad: Tensor, segment: Segment, start: int, stop: int) -> None:
    own = stop - start
    row[:, start:stop] += grad[:, -own:]
    if start != segment.start:
        row[:, segment.start : segment.start + segment.prompt] += grad[:, :-own]


def _causal_softmax(scores: Tensor, future: Tensor, rows: slice) -> Tensor:
    """Softmax of scores [G, heads a group x L, S], the last L keys being the rows' own; overwrites them."""
    length = rows.stop - rows.start
    by_head = scores.view(len(scores), -1, length, scores.shape[2])
    by_head[..., -length:].masked_fill_(future[:length, :length], float("-inf"))
    return scores.softmax(-1)


def _precise(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)
