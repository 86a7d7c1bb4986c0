"""Models that metrics load draw no bars on a terminal that has a display of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.tiny_rewards import save_base_model, save_decoder_reward
from transformers import AutoModel
from transformers.utils import logging

from metrics.config import RewardConfig
from metrics.embedding import SentenceEmbedder
from metrics.reward.features import Features
from metrics.reward.hf import HFReward

CONFIG = RewardConfig()
BAR = "Loading weights"


@pytest.fixture(autouse=True)
def bars() -> Iterator[None]:
    """Bars are on, as they are in a process of its own."""
    was = logging.is_progress_bar_enabled()
    logging.enable_progress_bar()
    yield
    if not was:
        logging.disable_progress_bar()


@pytest.mark.parametrize(
    ("save", "load"),
    [
        (save_base_model, SentenceEmbedder),
        (save_base_model, lambda path: Features(path, config=CONFIG, device="cpu")),
        (save_decoder_reward, lambda path: HFReward(path, config=CONFIG, device="cpu")),
    ],
    ids=["embedding", "features", "reward"],
)
def test_loading_draws_no_bar(
    save: Callable[[Path], Path],
    load: Callable[[str], object],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = str(save(tmp_path))
    AutoModel.from_pretrained(path)
    assert BAR in "".join(capfd.readouterr())  # what transformers does by itself
    load(path)
    assert BAR not in "".join(capfd.readouterr())
    assert logging.is_progress_bar_enabled()
