"""Which tokens of a packed row attend to which: to their prompt, and causally within their own part.

A part is a prompt or one response. In two forms: a dense mask, and the blocks of one.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask

from trainers.policy.batching import Segment

BLOCK = 128  # tokens along each side of a block of `row_blocks`


def spans(segment: Segment) -> list[tuple[int, int]]:
    """Start and stop in the row of the segment's prompt and of each of its responses that is not empty."""
    edges = [segment.start, segment.start + segment.prompt]
    for length in segment.responses:
        edges.append(edges[-1] + length)
    return [(start, stop) for start, stop in zip(edges, edges[1:], strict=False) if stop > start]


def row_mask(segments: Sequence[Segment], device: torch.device) -> Tensor:
    """[1, 1, T, T] bool: the keys that each token of a packed row attends to, as a dense mask."""
    total = segments[-1].stop
    mask = torch.zeros(total, total, dtype=torch.bool, device=device)
    for segment in segments:
        for start, stop in spans(segment):
            mask[start:stop, segment.start : segment.start + segment.prompt] = True
            mask[start:stop, start:stop] = True
    return mask.tril()[None, None]


def row_blocks(segments: Sequence[Segment], total: int, device: torch.device) -> BlockMask:
    """The same for FlexAttention, of a row padded to `total` tokens, a multiple of `BLOCK`.

    Padding attends to itself only. Blocks are counted from where each token's view begins and ends, without
    the T x T mask that `create_block_mask` makes, and without compiling a kernel that makes it in pieces.
    """
    own, first, stop = _views(segments, total).to(device)

    def attends(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        shared = (first[query] <= key) & (key < stop[query])
        allowed: Tensor = (key <= query) & (shared | (own[query] <= key))
        return allowed

    pairs = _attended_pairs(own, first, stop)
    whole = pairs == BLOCK * BLOCK
    blocks = (*_ordered((pairs > 0) & ~whole), *_ordered(whole))
    return BlockMask.from_kv_blocks(*blocks, BLOCK_SIZE=BLOCK, mask_mod=attends)


def _views(segments: Sequence[Segment], total: int) -> Tensor:
    """[3, T] int32: where a token's part begins; where its prompt begins and stops, nothing in a prompt."""
    end = segments[-1].stop
    views: list[tuple[int, int, int]] = []
    lengths: list[int] = []
    for segment in (*segments, Segment(end, total - end, ())):
        for start, stop in spans(segment):
            shared = 0 if start == segment.start else segment.prompt
            views.append((start, segment.start, segment.start + shared))
            lengths.append(stop - start)
    by_token = torch.tensor(views, dtype=torch.int32).repeat_interleave(torch.tensor(lengths), dim=0)
    return by_token.T.contiguous()


def _attended_pairs(own: Tensor, first: Tensor, stop: Tensor) -> Tensor:
    """[T / BLOCK, T / BLOCK]: how many pairs of a query and a key in two blocks attend."""
    indices = torch.arange(len(own), dtype=torch.int32, device=own.device)
    edges = indices[::BLOCK]

    def within(low: Tensor, high: Tensor) -> Tensor:
        inner = torch.minimum(high[:, None], edges + BLOCK) - torch.maximum(low[:, None], edges)
        return inner.clamp_(min=0)

    counts = within(own, indices + 1) + within(first, stop)
    return counts.view(len(edges), BLOCK, len(edges)).sum(1)


def _ordered(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Of each row of `blocks` [Q, K] bool, how many are true, [1, 1, Q], and all indices, those first."""
    indices = blocks.int().argsort(dim=-1, descending=True, stable=True)
    return blocks.sum(-1, dtype=torch.int32)[None, None], indices.to(torch.int32)[None, None]
