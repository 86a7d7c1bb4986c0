"""What tests that run whole studies share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from studies import ROOT


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local directory as `from_pretrained` takes it: a random two-layer Llama and a byte tokenizer."""
    sys.path.insert(0, str(ROOT / "tests" / "trainers_tests"))
    from tiny_models import byte_tokenizer, tiny_llama

    folder = tmp_path_factory.mktemp("model")
    tiny_llama(vocab_size=300, max_position_embeddings=512).save_pretrained(folder)
    byte_tokenizer(chat=True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`run.py` alone, somewhere else: that is what `ray submit` does with it."""
    path = tmp_path_factory.mktemp("home") / "run.py"
    path.write_text((ROOT / "search" / "run.py").read_text())
    return path
