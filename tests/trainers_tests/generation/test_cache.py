"""A roomy cache layer holds what transformers' own does, through growth and finished rows."""

from __future__ import annotations

import random

import pytest
import torch
from support.tiny_models import VOCABULARY, build, tiny_llama
from transformers import BloomConfig, MistralConfig
from transformers.cache_utils import DynamicLayer

from trainers.generation.cache import PreallocatedLayer, can_join, empty_cache
from trainers.generation.generate import _compacted


@pytest.mark.parametrize("seed", range(5))
def test_the_same_states_as_in_a_plain_layer(seed: int) -> None:
    rng, rows = random.Random(seed), 6
    ours, plain = PreallocatedLayer(), DynamicLayer()
    for step in range(150):
        new = torch.randn(2, rows, 2, 9 if step == 0 else 1, 3)
        width, _ = ours.get_mask_sizes(new.shape[-2])
        for mine, theirs in zip(ours.update(*new), plain.update(*new), strict=True):
            used = theirs.shape[-2]
            assert mine.is_contiguous() and mine.shape[-2] == width
            assert torch.equal(mine[..., :used, :], theirs) and not mine[..., used:, :].any()
        if rows > 1 and rng.random() < 0.05:
            over = rng.randrange(rows)
            kept = torch.tensor(_compacted([row == over for row in range(rows)]))
            rows = len(kept)
            ours.batch_select_indices(kept)
            plain.batch_select_indices(kept)
    assert ours.get_seq_length() == plain.get_seq_length() == 158
    assert rows < 6


def test_rows_that_go_on_keep_their_places_and_the_last_fill_the_gaps() -> None:
    assert _compacted([False, True, False, True, False]) == [0, 4, 2]
    assert _compacted([True, False]) == [1]
    assert _compacted([False, False, True]) == [0, 1]


def test_layers_that_see_a_window_only_are_left_to_transformers() -> None:
    assert all(type(layer) is PreallocatedLayer for layer in empty_cache(tiny_llama()).layers)
    small = {"vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    windowed = build(MistralConfig(**small, num_attention_heads=4, num_key_value_heads=2, sliding_window=4))
    assert not any(isinstance(layer, PreallocatedLayer) for layer in empty_cache(windowed).layers)
    assert not can_join(windowed)


def test_models_that_see_used_keys_only_get_no_others() -> None:
    own = build(BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4))
    assert all(type(layer) is DynamicLayer for layer in empty_cache(own).layers) and can_join(own)
