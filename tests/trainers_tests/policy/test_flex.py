"""FlexAttention sees what the dense mask sees, and gives way to it wherever it does not run or is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_models import random_rankings, tiny_llama
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, create_mask
from torch.nn.functional import scaled_dot_product_attention

from trainers.policy import flex
from trainers.policy.batching import Segment, collate
from trainers.policy.policy import Policy
from trainers.policy.visibility import row_blocks, row_mask

CPU = torch.device("cpu")
SHAPE = (4, 2, 16, torch.float32, CPU)
ROWS = st.lists(
    st.tuples(st.integers(1, 150), st.lists(st.integers(0, 150), min_size=1, max_size=4)),
    min_size=1,
    max_size=4,
)


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """Every test tries for itself."""
    flex.obstacle.cache_clear()
    yield
    flex.obstacle.cache_clear()


def segments_of(shape: list[tuple[int, list[int]]]) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    for prompt, responses in shape:
        segments.append(Segment(segments[-1].stop if segments else 0, prompt, tuple(responses)))
    return tuple(segments)


@settings(max_examples=25)
@given(ROWS)
def test_blocks_are_those_of_the_mask(shape: list[tuple[int, list[int]]]) -> None:
    segments = segments_of(shape)
    end = segments[-1].stop
    total = flex.padded_length(end)
    blocks = row_blocks(segments, total, CPU)
    sees = create_mask(blocks.mask_mod, 1, 1, total, total, CPU)
    assert torch.equal(sees[..., :end, :end], row_mask(segments, CPU))
    assert not sees[..., :end, end:].any() and not sees[..., end:, :end].any()
    assert bool(sees.any(-1).all()), "softmax over nothing"
    expected = create_block_mask(blocks.mask_mod, 1, 1, total, total, CPU)
    assert blocks.shape == expected.shape
    for name in ("kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices"):
        assert torch.equal(getattr(blocks, name), getattr(expected, name)), name


def test_rows_are_filled_up_to_blocks() -> None:
    assert [flex.padded_length(tokens) for tokens in (1, 256, 257, 1000)] == [256, 256, 384, 1024]


@torch.no_grad()
def test_attention_is_that_under_the_mask() -> None:
    segments = segments_of([(40, [10, 0, 70]), (3, [5]), (20, [0]), (60, [30, 30])])
    end, generator = segments[-1].stop, torch.Generator().manual_seed(1)
    row = [torch.randn(1, heads, flex.padded_length(end), 8, generator=generator) for heads in (6, 2, 2)]
    got = flex.attend(*row, row_blocks(segments, flex.padded_length(end), CPU), 0.3)[:, :, :end]
    known = [tensor[:, :, :end] for tensor in row]
    mask = row_mask(segments, CPU)
    expected = scaled_dot_product_attention(*known, attn_mask=mask, scale=0.3, enable_gqa=True)
    torch.testing.assert_close(got, expected)


def test_lengths_share_a_compilation(flex_gradients: None, monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = []

    def counting(graph: torch.fx.GraphModule, _inputs: object) -> object:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counting))
    compiled = flex._compiled.__wrapped__()
    for tokens in (700, 300, 400, 900, 100, 600):
        segments = segments_of([(tokens // 2, [tokens // 4, tokens // 4])])
        total = flex.padded_length(segments[-1].stop)
        row = [torch.randn(1, heads, total, 8, requires_grad=True) for heads in (4, 1, 1)]
        out = compiled(*row, block_mask=row_blocks(segments, total, CPU), scale=8**-0.5, enable_gqa=True)
        assert all(grad.isfinite().all() for grad in torch.autograd.grad(out.sum(), row))
    assert len(graphs) == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_trial_passes_where_it_works(flex_gradients: None, dtype: torch.dtype) -> None:
    assert flex.obstacle(6, 2, 16, dtype, CPU) is None


def test_trial_says_what_was_raised() -> None:
    said = flex.obstacle(*SHAPE)  # torch's own refusal of gradients on a CPU
    assert said is not None and "NotImplementedError: FlexAttention does not support backward on CPU" in said


def wrong_blocks(segments: tuple[Segment, ...], total: int, device: torch.device) -> BlockMask:
    """Every prompt's last response sees the one before."""
    merged = [Segment(s.start, s.prompt, (*s.responses[:-2], sum(s.responses[-2:]))) for s in segments]
    return row_blocks(merged, total, device)


class WrongGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: object, *grads: Tensor) -> Tensor:
        return grads[0] * float("nan")


def test_trial_finds_wrong_numbers(flex_gradients: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("trainers.policy.flex.row_blocks", wrong_blocks)
        assert "is off by 0." in str(flex.obstacle(*SHAPE))
    flex.obstacle.cache_clear()
    right = flex.attend
    monkeypatch.setattr(
        "trainers.policy.flex.attend", lambda q, k, v, *rest: right(q, k, WrongGradient.apply(v), *rest)
    )
    assert "is off by nan" in str(flex.obstacle(*SHAPE))


def test_policy_takes_flex_on_a_gpu(flex_gradients: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.policy.policy._on_gpu", lambda lm: True)
    policy = Policy(tiny_llama())
    assert (policy.path, policy.no_flex, policy.note) == ("flex", None, None)


def test_policy_takes_the_mask_where_flex_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.policy.policy._on_gpu", lambda lm: True)
    policy = Policy(tiny_llama())
    assert policy.path == "mask" and policy.reason is None
    assert "dense mask" in str(policy.note) and "backward on CPU" in str(policy.note)
    batch = collate(random_rankings(3, (2, 3)))
    torch.testing.assert_close(policy(batch).total, Policy(tiny_llama(), "plain")(batch).total)


@pytest.mark.parametrize("fault", ["raises", "disagrees"])
def test_policy_takes_the_mask_where_flex_fails_in_the_model(
    fault: str, flex_gradients: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unlike_the_configuration(*_: object) -> Tensor:
        raise RuntimeError("heads of another width")

    monkeypatch.setattr("trainers.policy.policy._on_gpu", lambda lm: True)
    monkeypatch.setattr("trainers.policy.flex.obstacle", lambda *_: None)
    wrong = wrong_blocks if fault == "disagrees" else unlike_the_configuration
    monkeypatch.setattr("trainers.policy.policy.row_blocks", wrong)
    policy = Policy(tiny_llama())
    assert policy.path == "mask" and policy.reason is None
    said = "another width" if fault == "raises" else "differently"
    assert said in str(policy.note)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_on_a_gpu(dtype: torch.dtype) -> None:
    """Log-probabilities and gradients are those of one pass per response, with few compilations."""
    sizes = {"hidden_size": 64, "initializer_range": 0.1}  # heads of 16: the kernel takes none narrower
    models = [tiny_llama(**sizes).to("cuda", dtype) for _ in range(2)]
    shared, plain = Policy(models[0]), Policy(models[1], "plain")
    assert shared.path == "flex", shared.note
    torch._dynamo.utils.counters.clear()
    for seed, longest in enumerate((9, 60, 150, 90, 200, 250, 300)):
        batch = collate(random_rankings(seed, (3, 2), longest=longest)).to("cuda")
        gradients = []
        for model, policy in zip(models, (shared, plain), strict=True):
            model.zero_grad()
            policy(batch).mean.sum().backward()
            gradients.append(torch.cat([p.grad.flatten().float() for p in model.parameters()]))
        gap = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
        assert float(gap) < (1e-3 if dtype == torch.float32 else 0.05)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2
