"""Batched decoding returns what decoding one prompt at a time returns."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
import torch
from support.tiny_models import VOCABULARY, build, byte_tokenizer, tiny_llama
from torch import Tensor
from transformers import BloomConfig, GPT2Config, MistralConfig, OPTConfig, PreTrainedModel, Qwen2Config

from trainers.generation.generate import Sampling, cut, generate
from trainers.policy import decoding

EOS = [3, 20, 40, 60, 80]
OPTIONS = {"max_new_tokens": 16, "eos_ids": EOS, "pad_id": 0}
FAMILIES = {
    "bloom": BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3),
    "gpt2": GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, initializer_range=0.3),
    "opt": OPTConfig(
        vocab_size=VOCABULARY, hidden_size=32, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4,
        word_embed_proj_dim=32, init_std=0.3, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    ),
    "qwen2": Qwen2Config(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.3,
    ),
    "mistral": MistralConfig(
        vocab_size=VOCABULARY, hidden_size=32, intermediate_size=48, num_hidden_layers=2, sliding_window=6,
        num_attention_heads=4, num_key_value_heads=2, initializer_range=0.3,
    ),
}  # fmt: skip


def prompts(seed: int, count: int = 12, longest: int = 14) -> list[list[int]]:
    rng = random.Random(seed)
    return [[rng.randrange(4, VOCABULARY) for _ in range(rng.randint(1, longest))] for _ in range(count)]


def greedy_by_hand(model: PreTrainedModel, prompt: list[int], most: int = 16) -> list[int]:
    ids = list(prompt)
    for _ in range(most):
        token = int(model(torch.tensor([ids])).logits[0, -1].argmax())
        if token in EOS:
            break
        ids.append(token)
    return ids[len(prompt) :]


@torch.no_grad()
def test_equals_decoding_by_hand() -> None:
    model, given_prompts = tiny_llama(), prompts(1)
    answers = generate(model, given_prompts, **OPTIONS)
    assert answers == [greedy_by_hand(model, prompt) for prompt in given_prompts]
    assert len({len(answer) for answer in answers}) > 2, "rows should end at different times"


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_families_equal_decoding_by_hand(family: str) -> None:
    model, given_prompts = build(FAMILIES[family]), prompts(2)
    assert generate(model, given_prompts, **OPTIONS) == [greedy_by_hand(model, p) for p in given_prompts]


@pytest.mark.parametrize("budget", [1, 60, 10**6])
def test_the_budget_changes_no_answer(budget: int) -> None:
    model, given_prompts = tiny_llama(), prompts(3)
    assert generate(model, given_prompts, **OPTIONS, token_budget=budget) == generate(
        model, given_prompts, **OPTIONS
    )


def test_a_long_prompt_is_not_what_all_are_padded_to() -> None:
    model, encoded = tiny_llama(), []
    model.register_forward_pre_hook(
        lambda _m, _a, kwargs: encoded.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    given_prompts = [[5] * length for length in (4, 30, 5, 27)]
    assert generate(model, given_prompts, max_new_tokens=1, eos_ids=[], pad_id=0)
    assert encoded == [(2, 30), (2, 5)]


@pytest.mark.parametrize("budget", [1, 60, 10**6])
def test_copies_of_a_prompt_answer_as_repeated_prompts_do(budget: int) -> None:
    model, given_prompts = tiny_llama(), prompts(3)
    once = generate(model, given_prompts, **OPTIONS)
    twice = generate(model, given_prompts, **OPTIONS, token_budget=budget, copies=2)
    assert twice == [answer for answer in once for _ in range(2)]


def test_copies_are_sampled_apart() -> None:
    answers = generate(tiny_llama(), prompts(3), **OPTIONS, sampling=Sampling(seed=1), copies=4)
    assert len({tuple(answer) for answer in answers[:4]}) > 1


def test_no_prompts_no_answers() -> None:
    assert generate(tiny_llama(), [], **OPTIONS) == []


def _decodes(kwargs: dict[str, Any]) -> bool:
    return kwargs["past_key_values"].get_seq_length() > 0


def test_finished_rows_leave_the_batch() -> None:
    model, rows = tiny_llama(), []
    model.register_forward_pre_hook(
        lambda _m, _a, kwargs: rows.append(len(kwargs["input_ids"]) * _decodes(kwargs)), with_kwargs=True
    )
    answers = generate(model, prompts(1), **OPTIONS)
    rows = [count for count in rows if count]
    expected = [
        sum(len(answer) >= step for answer in answers) for step in range(1, max(map(len, answers)) + 1)
    ]
    assert rows == [count for count in expected if count][: len(rows)]


def test_the_model_is_left_as_it_was() -> None:
    model = tiny_llama().train()
    generate(model, prompts(1), **OPTIONS)
    assert model.training and all(p.grad is None for p in model.parameters())
    assert model.config._attn_implementation == "sdpa"


def test_attention_while_decoding_is_sdpas(monkeypatch: pytest.MonkeyPatch) -> None:
    """In every layer and for every new token but the first, which comes of the prompt."""
    steps = []

    def both(*given: Any) -> Tensor:
        out = attend(*given)
        query, key, value, mask, scale = given
        expected = sdpa(query, key, value, attn_mask=mask, scale=scale, enable_gqa=True)
        torch.testing.assert_close(out, expected)
        steps.append(mask is not None and not bool(mask.all()))
        return out

    attend, sdpa = decoding.attend, torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(decoding, "attend", both)
    generate(build(FAMILIES["qwen2"]), prompts(2), max_new_tokens=5, eos_ids=[], pad_id=0)
    assert len(steps) == 2 * 4 and any(steps)


@pytest.mark.parametrize("odd", ["two tokens", "head masks", "float mask", "softcap"])
def test_other_attention_is_left_to_sdpa(odd: str) -> None:
    query, key = torch.ones(2, 4, 2 if odd == "two tokens" else 1, 8), torch.ones(2, 2, 5, 8)
    mask = torch.ones(2, 4 if odd == "head masks" else 1, 1, 5, dtype=torch.bool)
    given = mask.float() if odd == "float mask" else mask
    assert not decoding.fits(query, key, given, {"softcap": 50.0 if odd == "softcap" else None})
    assert decoding.fits(query[:, :, :1], key, mask[:, :1], {"softcap": None})


def test_sampling_is_seeded() -> None:
    model, given_prompts = tiny_llama(initializer_range=0.02), prompts(4)
    first, again, other = (
        generate(model, given_prompts, **OPTIONS, sampling=Sampling(seed=seed)) for seed in (1, 1, 2)
    )
    assert first == again != other


def test_seeds_of_their_own_make_answers_independent_of_the_others() -> None:
    model, given_prompts = tiny_llama(initializer_range=0.02), prompts(4)
    seeds = list(range(len(given_prompts)))
    answers = generate(model, given_prompts, **OPTIONS, sampling=Sampling(seeds=seeds))
    for place, prompt in enumerate(given_prompts):
        alone = generate(model, [prompt], **OPTIONS, sampling=Sampling(seeds=[place]))
        assert alone == [answers[place]]
    turned = generate(model, given_prompts[::-1], **OPTIONS, sampling=Sampling(seeds=seeds[::-1]))
    assert turned == answers[::-1]
    small = generate(model, given_prompts, **OPTIONS, sampling=Sampling(seeds=seeds), token_budget=60)
    assert small == answers
    assert generate(model, given_prompts, **OPTIONS, sampling=Sampling(seeds=seeds[::-1])) != answers


def test_copies_are_what_repeated_prompts_give() -> None:
    model, given_prompts = tiny_llama(initializer_range=0.02), prompts(7, count=5)
    repeated = [prompt for prompt in given_prompts for _ in range(3)]
    sampling = Sampling(top_p=0.9, seeds=list(range(15)))
    copied = generate(model, given_prompts, **OPTIONS, sampling=sampling, copies=3)
    assert copied == generate(model, repeated, **OPTIONS, sampling=sampling)
    assert len({tuple(answer) for answer in copied[:3]}) > 1


def test_cold_or_narrow_sampling_is_greedy() -> None:
    model, given_prompts = tiny_llama(), prompts(5)
    greedy = generate(model, given_prompts, **OPTIONS)
    seeds = list(range(len(given_prompts)))
    for sampling in (Sampling(temperature=1e-4), Sampling(top_p=1e-6), Sampling(top_p=1e-6, seeds=seeds)):
        assert generate(model, given_prompts, **OPTIONS, sampling=sampling) == greedy


@pytest.mark.parametrize("seeds", [[], list(range(2000))])
def test_sampling_follows_the_nucleus(seeds: list[int]) -> None:
    model = tiny_llama(initializer_range=0.05)
    prompt = [5, 6, 7]
    with torch.no_grad():
        probabilities = model(torch.tensor([prompt])).logits[0, -1].softmax(-1)
    order = probabilities.argsort(descending=True)
    size = int((probabilities[order].cumsum(0) < 0.5).sum()) + 1
    options = {"max_new_tokens": 1, "eos_ids": [], "pad_id": 0, "sampling": Sampling(1.0, 0.5, 3, seeds)}
    drawn = Counter(answer[0] for answer in generate(model, [prompt] * 2000, **options))
    assert set(drawn) <= set(order[:size].tolist())
    share = float(probabilities[order[0]] / probabilities[order[:size]].sum())
    assert drawn[int(order[0])] / 2000 == pytest.approx(share, abs=0.03)


def test_an_answer_ends_before_a_stop_string() -> None:
    tokenizer = byte_tokenizer()
    model = tiny_llama(vocab_size=len(tokenizer))
    given_prompts = prompts(6)
    options = {"max_new_tokens": 16, "eos_ids": [], "pad_id": 0}
    whole = [tokenizer.decode(ids) for ids in generate(model, given_prompts, **options)]
    stop = [next(pair for pair in map("".join, pairwise(text[3:])) if pair.isascii()) for text in whole[:2]]
    answers = generate(model, given_prompts, **options, stop=stop, tokenizer=tokenizer)
    assert [cut(tokenizer.decode(ids), stop) for ids in answers] == [cut(text, stop) for text in whole]
    for ids, text in zip(answers, whole, strict=True):
        found = any(mark in text for mark in stop)
        assert any(mark in tokenizer.decode(ids) for mark in stop) == found
        assert not any(mark in tokenizer.decode(ids[:-1]) for mark in stop), "decoded on after the string"


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [("ab\ncd", ["\n"], "ab"), ("ab", ["x"], "ab"), ("abcd", ["d", "bc"], "a"), ("ab", [], "ab")],
)
def test_text_is_cut_at_the_first_stop_string(text: str, stop: list[str], expected: str) -> None:
    assert cut(text, stop) == expected
