"""Spread of embeddings against the pairwise definitions, and pooling with a tiny model of our own."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from base.errors import ApportionError
from metrics.embedding import (
    SentenceEmbedder,
    Spread,
    check_embedding_model,
    embed_texts,
    embedding_baselines,
)

TEXTS = ["the cat sat", "a dog", "", "the cat sat on the mat with a dog and a bird", "bird"]


def unit_vectors(count: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(count, 5))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@given(st.integers(2, 12), st.integers(0, 99), st.integers(1, 12))
def test_spread_is_its_pairwise_definition(count: int, seed: int, cut: int) -> None:
    vectors = unit_vectors(count, seed)
    spread = Spread(5)
    spread.add(vectors[:cut])
    spread.add(vectors[cut:])
    cosines = vectors @ vectors.T
    distances = [1 - cosines[i, j] for i in range(count) for j in range(i)]
    assert spread.mean_distance() == pytest.approx(np.mean(distances))
    values = np.linalg.eigvalsh(cosines / count)
    values = values[values > 1e-12]
    assert spread.vendi_score() == pytest.approx(np.exp(-(values * np.log(values)).sum()))


def test_vendi_score_counts_what_is_different() -> None:
    spread = Spread(4)
    assert (spread.vendi_score(), spread.mean_distance()) == (0.0, 0.0)
    spread.add(np.eye(4)[[0]])
    assert (spread.vendi_score(), spread.mean_distance()) == (pytest.approx(1.0), 0.0)
    spread.add(np.eye(4)[[1, 2, 3]])
    assert spread.vendi_score() == pytest.approx(4.0)
    assert spread.mean_distance() == pytest.approx(1.0)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    path = tmp_path_factory.mktemp("embedder")
    words = sorted({word for text in TEXTS for word in text.split()})
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["<p>", *words])}, unk_token="<p>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<p>").save_pretrained(path)
    config = BertConfig(
        vocab_size=32,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        max_position_embeddings=8,
    )
    BertModel(config).save_pretrained(path)
    return path


def test_embedding_does_not_depend_on_the_batch(model_dir: Path) -> None:
    embedder = SentenceEmbedder(str(model_dir))
    together = embedder.embed(TEXTS)
    np.testing.assert_allclose(
        together, np.concatenate([embedder.embed([text]) for text in TEXTS]), atol=1e-5
    )
    lengths = np.linalg.norm(together, axis=1)
    np.testing.assert_allclose(lengths, [1, 1, 0, 1, 1], atol=1e-5)


def test_rivals_by_name(model_dir: Path) -> None:
    same = embedding_baselines(embed_texts(["a dog"] * 3, str(model_dir)))
    different = embedding_baselines(embed_texts(["a dog", "the cat sat", "bird"], str(model_dir)))
    assert same["vendi_score"] == pytest.approx(1.0, abs=1e-4)
    assert same["embedding_distance"] == pytest.approx(0.0, abs=1e-5)
    assert different["vendi_score"] > same["vendi_score"]


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ApportionError, match='cannot load the embedding model ".*nowhere'):
        SentenceEmbedder(str(tmp_path / "nowhere"))
    with pytest.raises(ApportionError, match='cannot load the embedding model ".*nowhere'):
        check_embedding_model(str(tmp_path / "nowhere"))
