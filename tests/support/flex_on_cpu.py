"""FlexAttention with gradients on a CPU, for tests: the same mask through the operator's dense form."""

from __future__ import annotations

from collections.abc import Callable

from torch.nn.attention import flex_attention as torch_flex


def allow(put: Callable[[object, str, object], None] = setattr) -> None:
    """Let gradients pass, and leave out tracing; `put` sets an attribute.

    torch refuses tensors that require gradients at the door, as its CPU kernel has no backward. The operator
    behind it has one in plain torch, which takes gradients through the very mask that a GPU's kernel does.
    """
    put(torch_flex, "_validate_device", lambda *_: None)
    # Otherwise every new length is traced first, only to be run in plain torch then.
    put(torch_flex, "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG", True)
