"""Sharing prompts changes cost, never values: everything is held to one pass per response."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tiny_models import VOCABULARY, build, random_rankings, tiny_llama
from transformers import (
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    MistralConfig,
    OPTConfig,
    Phi3Config,
    PreTrainedModel,
    Qwen2Config,
    Qwen3Config,
)

from trainers.algorithms.registry import make_algorithm
from trainers.config.algorithm import AlgorithmConfig
from trainers.policy.attention import segment_attention
from trainers.policy.batching import Batch, Ranking, collate
from trainers.policy.policy import Policy, ResponseLogps, with_reference
from trainers.policy.visibility import row_mask, spans

SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.3,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GROUPED = {**SMALL, "num_key_value_heads": 2}
OPT = {k: v for k, v in SMALL.items() if k not in ("intermediate_size", "initializer_range")}
NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
SHARING = {
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3, **NO_DROPOUT
    ),
    "gpt_neox": GPTNeoXConfig(**SMALL),
    "mistral": MistralConfig(**GROUPED, sliding_window=None),
    "opt": OPTConfig(**OPT, ffn_dim=48, word_embed_proj_dim=32, dropout=0.0, init_std=0.3),
    "phi3": Phi3Config(**GROUPED),
    "qwen2": Qwen2Config(**GROUPED),
    "qwen3": Qwen3Config(**GROUPED, head_dim=8),
}
PLAIN = {
    "bloom": (BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4), "attention|position"),
    "gemma2": (Gemma2Config(**GROUPED, head_dim=8), "softcapping"),
}
RANKINGS = random_rankings(11, (2, 4, 1, 3))


def one_by_one(model: PreTrainedModel, rankings: list[Ranking]) -> ResponseLogps:
    """The definition: each response alone after its own copy of the prompt, whole log-softmax."""
    totals, tokens = [], []
    for ranking in rankings:
        for response in ranking.response_ids:
            ids = torch.tensor([ranking.prompt_ids + response])
            scores = model(input_ids=ids).logits[0].double().log_softmax(-1)
            places = range(len(ranking.prompt_ids) - 1, ids.shape[1] - 1)
            totals.append(torch.stack([scores[p, ids[0, p + 1]] for p in places]).sum())
            tokens.append(float(len(response)))
    return ResponseLogps(torch.stack(totals), torch.tensor(tokens))


def gradient(model: PreTrainedModel, logps: ResponseLogps, batch: Batch) -> torch.Tensor:
    model.zero_grad()
    make_algorithm(AlgorithmConfig(name="pro")).loss(logps, batch).total.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def assert_same(path: str, build_model: object, tolerance: float = 1e-5) -> None:
    model, batch = build_model(), collate(RANKINGS)  # type: ignore[operator]
    expected = one_by_one(model, RANKINGS)
    expected_gradient = gradient(model, expected, batch)
    policy = Policy(model, path)  # type: ignore[arg-type]
    assert policy.path == path, policy.reason
    got = policy(batch)
    assert torch.equal(got.tokens, expected.tokens)
    torch.testing.assert_close(got.total.double(), expected.total, rtol=tolerance, atol=tolerance)
    scale = float(expected_gradient.abs().max())
    difference = gradient(model, got, batch) - expected_gradient
    assert float(difference.abs().max()) <= tolerance * max(scale, 1.0)


@pytest.mark.parametrize("path", ["segments", "flex", "mask", "plain"])
def test_llama_equals_one_pass_per_response(path: str, flex_gradients: None) -> None:
    assert_same(path, tiny_llama)


@pytest.mark.parametrize("path", ["segments", "flex", "mask"])
@pytest.mark.parametrize("family", SHARING)
def test_families_share_prompts(family: str, path: str, flex_gradients: None) -> None:
    assert_same(path, lambda: build(SHARING[family]))


@pytest.mark.parametrize("family", PLAIN)
def test_models_that_cannot_share_say_why_and_are_right(family: str) -> None:
    config, reason = PLAIN[family]
    policy = Policy(build(config))
    assert policy.path == "plain"
    assert any(word in str(policy.reason) for word in reason.split("|"))
    assert_same("plain", lambda: build(config))


def test_a_model_that_disagrees_is_found_out() -> None:
    model = tiny_llama()

    class Doubling(torch.nn.Linear):
        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return super().forward(hidden) * (2.0 if hidden.ndim == 2 else 1.0)

    head = Doubling(32, VOCABULARY, bias=False)
    head.weight = model.lm_head.weight
    model.lm_head = head
    policy = Policy(model)
    assert policy.path == "plain" and "differently" in str(policy.reason)


def test_bfloat16_is_as_near_to_float32_as_one_pass_per_response_is() -> None:
    batch = collate(RANKINGS)
    exact_model, model = tiny_llama(initializer_range=0.03), tiny_llama(initializer_range=0.03).bfloat16()
    exact = gradient(exact_model, one_by_one(exact_model, RANKINGS), batch)
    reference = one_by_one(model, RANKINGS)
    expected = gradient(model, reference, batch).float()
    got = Policy(model, "segments")(batch)
    torch.testing.assert_close(got.total.double(), reference.total, rtol=1e-2, atol=1e-2)
    ours = gradient(model, got, batch).float()
    assert float((ours - expected).norm() / expected.norm()) < 1e-2
    assert float((ours - exact).norm()) < 1.2 * float((expected - exact).norm())


def test_sliding_window_is_shared_only_where_it_reaches() -> None:
    config = MistralConfig(**GROUPED, sliding_window=6)
    model = build(config)
    short, long = random_rankings(1, (2, 2), longest=3), random_rankings(4, (3, 2), longest=20)
    for rankings in (short, long):
        expected = one_by_one(model, rankings).total
        torch.testing.assert_close(
            Policy(model)(collate(rankings)).total.double(), expected, rtol=1e-5, atol=1e-5
        )


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.integers(1, 5), st.lists(st.integers(0, 4), min_size=1, max_size=3)),
        min_size=1,
        max_size=3,
    )
)
def test_segment_attention_is_attention_under_the_mask(shape: list[tuple[int, list[int]]]) -> None:
    rankings = [
        Ranking([5] * p, tuple([5] * (r + 1) for r in rs), tuple(-float(i) for i in range(len(rs))))
        for p, rs in shape
    ]
    batch = collate(rankings)
    generator = torch.Generator().manual_seed(batch.tokens)
    query, key, value = (
        torch.randn(heads, batch.tokens, 8, generator=generator, dtype=torch.float64, requires_grad=True)
        for heads in (4, 2, 2)
    )
    got = segment_attention(query, key, value, batch.segments, 0.3)
    wide = [tensor.repeat_interleave(2, 0)[None] for tensor in (key, value)]
    mask = row_mask(batch.segments, query.device)
    expected = torch.nn.functional.scaled_dot_product_attention(
        query[None], *wide, attn_mask=mask, scale=0.3
    )[0]
    torch.testing.assert_close(got, expected)
    weights = torch.randn(got.shape, generator=generator, dtype=torch.float64)
    ours = torch.autograd.grad((got * weights).sum(), (query, key, value))
    theirs = torch.autograd.grad((expected * weights).sum(), (query, key, value))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)


def attention_gradients(attend: object, tensors: list[torch.Tensor]) -> torch.Tensor:
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    out = attend(*leaves)  # type: ignore[operator]
    grads = torch.autograd.grad(out.square().sum(), leaves)
    return torch.cat([tensor.detach().double().flatten() for tensor in (out, *grads)])


def test_segment_attention_rounds_no_more_than_sdpa() -> None:
    segments = collate([Ranking([5] * 40, ([5] * 200, [5] * 30), (2.0, 1.0))]).segments
    generator, total = torch.Generator().manual_seed(1), segments[-1].stop
    tensors = [3 * torch.randn(2, total, 16, generator=generator).bfloat16() for _ in range(3)]
    mask = row_mask(segments, torch.device("cpu"))

    def sdpa(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        rows = (query[None], key[None], value[None])
        return torch.nn.functional.scaled_dot_product_attention(*rows, attn_mask=mask)[0]

    exact = attention_gradients(sdpa, [tensor.double() for tensor in tensors])
    theirs = attention_gradients(sdpa, tensors)
    ours = attention_gradients(lambda q, k, v: segment_attention(q, k, v, segments, 0.25), tensors)
    assert float((ours - exact).norm()) < 1.5 * float((theirs - exact).norm())


def test_segment_attention_gradient() -> None:
    segments = collate(
        [Ranking([5, 5], ([5] * 3, [5], [5] * 2), (3.0, 2.0, 1.0)), Ranking([5], ([5] * 2,), (1.0,))]
    ).segments
    assert spans(segments[0]) == [(0, 2), (2, 4), (4, 5)]
    tensors = [
        torch.randn(h, segments[-1].stop, 4, dtype=torch.float64, requires_grad=True) for h in (2, 1, 1)
    ]
    assert torch.autograd.gradcheck(lambda q, k, v: segment_attention(q, k, v, segments, 0.5), tensors)


def test_a_response_is_blind_to_the_others() -> None:
    policy = Policy(tiny_llama())
    prompt, first = [5, 6, 7], [8, 9, 10, 2]
    alone = policy(collate([Ranking(prompt, (first,), (1.0,))])).total[0]
    for other in ([20, 21, 2], [9] * 12):
        beside = policy(
            collate(
                [Ranking([30] * 4, ([31], [32]), (1.0, 0.0)), Ranking(prompt, (other, first), (1.0, 0.0))]
            )
        )
        torch.testing.assert_close(beside.total[3], alone, rtol=1e-6, atol=1e-5)


def test_how_a_step_is_cut_does_not_change_its_gradient() -> None:
    rankings = random_rankings(5, (3,) * 8)
    algorithm = make_algorithm(AlgorithmConfig(name="pro"))

    def accumulated(cut: int) -> torch.Tensor:
        model = tiny_llama()
        policy = Policy(model)
        for start in range(0, 8, cut):
            batch = collate(rankings[start : start + cut])
            (algorithm.loss(policy(batch), batch).total / 8).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    whole = accumulated(8)
    for cut in (1, 3):
        torch.testing.assert_close(accumulated(cut), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("path", ["segments", "flex", "plain"])
def test_gradient_checkpointing_changes_no_gradient(path: str, flex_gradients: None) -> None:
    batch = collate(RANKINGS)
    plain, saving = tiny_llama(), tiny_llama()
    saving.gradient_checkpointing_enable({"use_reentrant": False})
    saving.train()
    expected = gradient(plain, Policy(plain, path)(batch), batch)  # type: ignore[arg-type]
    torch.testing.assert_close(gradient(saving, Policy(saving, path)(batch), batch), expected)  # type: ignore[arg-type]


def test_long_answers_are_scored_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = collate(RANKINGS)
    whole = Policy(tiny_llama())(batch).total
    seen: list[int] = []
    monkeypatch.setattr("trainers.policy.policy._CHUNK", 5)
    policy = Policy(tiny_llama())
    policy.model.get_output_embeddings().register_forward_hook(lambda _m, _i, out: seen.append(out.shape[0]))
    total = policy(batch).total
    torch.testing.assert_close(total, whole, rtol=1e-5, atol=1e-5)
    assert max(seen) == 5 and sum(seen) == len(batch.targets)
    last = seen[-1]
    total.sum().backward()
    assert sum(seen) == 2 * len(batch.targets) - last, (
        "the last chunk's scores are kept, the others made again"
    )


def test_lora_trains_its_own_weights_only() -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(
        tiny_llama(), LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    )
    policy = Policy(model)
    batch = collate(RANKINGS)
    assert policy.path == "segments"
    torch.testing.assert_close(
        policy(batch).total.double(), one_by_one(tiny_llama(), RANKINGS).total, rtol=1e-5, atol=1e-5
    )
    make_algorithm(AlgorithmConfig(name="pro")).loss(policy(batch), batch).total.backward()
    trained = {name for name, p in policy.named_parameters() if p.grad is not None}
    assert trained and all("lora_" in name for name in trained)


def test_references_are_the_policy_at_the_time() -> None:
    model = tiny_llama()
    filled = with_reference(Policy(model), RANKINGS, max_tokens=20, device="cpu")
    expected = one_by_one(model, RANKINGS).total.tolist()
    assert [v for ranking in filled for v in ranking.reference or ()] == pytest.approx(expected, rel=1e-5)


def test_a_saved_policy_is_an_ordinary_model(tmp_path: object) -> None:
    from transformers import AutoModelForCausalLM

    policy = Policy(tiny_llama())
    policy.model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.config._attn_implementation == "sdpa"
    torch.testing.assert_close(one_by_one(loaded, RANKINGS).total, one_by_one(tiny_llama(), RANKINGS).total)
