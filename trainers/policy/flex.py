"""Attention of a packed row by FlexAttention, which skips blocks in which no query attends to a key."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

from trainers.policy.batching import Segment
from trainers.policy.visibility import BLOCK, row_blocks, row_mask

_CHECKS = (
    (Segment(0, 70, (40, 0, 150)), Segment(260, 5, (1, 90))),
    (Segment(0, 300, (130, 20)), Segment(450, 1, (60,)), Segment(511, 30, (0, 40, 100))),
)
TOLERANCE = 0.02  # of the norm: bfloat16 rounds to 0.004, a key too many or too few changes far more


def padded_length(tokens: int) -> int:
    """The length that a row of `tokens` is padded to: whole blocks, and at least two.

    Lengths differ at every step and must not be recompiled. With `dynamic=True` one compilation serves all
    lengths, but a size of 1 is always compiled separately, and rows below 128 take another kernel.
    """
    return max(2, -(-tokens // BLOCK)) * BLOCK


def attend(query: Tensor, key: Tensor, value: Tensor, blocks: BlockMask, scale: float) -> Tensor:
    """Attention [1, H, T, D] of a row of whole blocks; `key` and `value` are [1, G, T, D], G dividing H."""
    function: Any = _compiled() if query.is_cuda else flex_attention
    out: Tensor = function(query, key, value, block_mask=blocks, scale=scale, enable_gqa=True)
    return out


@functools.cache
def obstacle(heads: int, groups: int, width: int, dtype: torch.dtype, device: torch.device) -> str | None:
    """Why FlexAttention cannot be used for attention of this shape on `device`, or None.

    Checked on two short rows, whose output and gradients must be those under a dense mask.
    """
    shape = (heads, groups, groups), width, dtype, device
    try:
        found = torch.cat([gaps(random_row(segments, *shape), segments) for segments in _CHECKS])
    except Exception as error:  # whatever a compiler or driver may raise: training continues without
        return failure(error)
    gap = float(found.max())  # of a NaN too
    return None if gap <= TOLERANCE else f"FlexAttention is off by {gap:.2g} of the result's norm here"


def failure(error: Exception) -> str:
    """What kept FlexAttention from running, in one line."""
    lines = str(error).strip().splitlines() or [""]
    return f"FlexAttention does not run here ({type(error).__name__}: {lines[0]:.200})"


@functools.cache
def _compiled() -> Callable[..., Any]:
    # One compilation for each combination of what needs gradients, strides, scale and, in a process that
    # trains several models, heads; past the limit torch would silently make the whole matrix of scores.
    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    return torch.compile(flex_attention, dynamic=True)


def random_row(
    segments: tuple[Segment, ...],
    heads: tuple[int, ...],
    width: int,
    dtype: torch.dtype,
    device: torch.device,
) -> list[Tensor]:
    """Random queries, keys and values of a padded row, strided as by models: [T, heads, width].

    `heads` counts those of the three.
    """
    generator = torch.Generator(device).manual_seed(0)  # the training's own stays as it is
    total = padded_length(segments[-1].stop)
    return [
        torch.randn(1, total, count, width, generator=generator, dtype=dtype, device=device).transpose(1, 2)
        for count in heads
    ]


@torch.enable_grad()
def gaps(row: list[Tensor], segments: tuple[Segment, ...]) -> Tensor:
    """[4]: the error of the output and of the gradients of queries, keys and values, by the norm.

    Against SDPA under the dense mask on the same `row` (see `random_row`), in float32 at least.
    """
    total, end, scale = row[0].shape[2], segments[-1].stop, row[0].shape[3] ** -0.5
    blocks, mask = row_blocks(segments, total, row[0].device), row_mask(segments, row[0].device)

    def ours(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return attend(query, key, value, blocks, scale)[:, :, :end]

    def dense(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return scaled_dot_product_attention(query, key, value, mask, scale=scale, enable_gqa=True)

    precise = [tensor[:, :, :end].to(torch.promote_types(tensor.dtype, torch.float32)) for tensor in row]
    got, exact = with_gradients(ours, row), with_gradients(dense, precise)
    pairs = [(a[:, :, :end], b) for a, b in zip(got, exact, strict=True)]
    return torch.stack([(a - b).norm() / b.norm() for a, b in pairs])


def with_gradients(attention: Callable[[Tensor, Tensor, Tensor], Tensor], row: list[Tensor]) -> list[Tensor]:
    """`attention` of the `row`, and the gradients of its queries, keys and values under a sum of squares."""
    leaves = [tensor.detach().requires_grad_() for tensor in row]
    out = attention(*leaves)
    return [out.detach(), *torch.autograd.grad(out.square().sum(), leaves)]
