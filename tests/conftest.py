"""What tests of several packages share."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch is imported: tiny models gain nothing from threads, which the processes of other tests hold up.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# Property tests judge results, not the load of the machine: no deadline for a single example.
settings.register_profile("apportion", deadline=None)
settings.load_profile("apportion")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local directory as `from_pretrained` takes it: a random two-layer Llama and a byte tokenizer."""
    from support.tiny_models import byte_tokenizer, tiny_llama

    folder = tmp_path_factory.mktemp("model")
    tiny_llama(vocab_size=300, max_position_embeddings=512).save_pretrained(folder)
    byte_tokenizer(chat=True).save_pretrained(folder)
    return folder
