"""An out-of-memory error names the fields to change."""

from __future__ import annotations

import pytest
import torch

from base.errors import TrainingError, loading
from trainers.trial.out_of_memory import explain_oom


def test_running_out_of_memory_says_what_to_lower() -> None:
    words = r"out of memory on cpu after .* trainer\.micro_batch_tokens"
    with pytest.raises(TrainingError, match=words), explain_oom("cpu"):
        torch.empty(2**60)
    with pytest.raises(RuntimeError, match="shape"), explain_oom("cpu"):
        torch.zeros(7).view(5)


def test_a_thread_that_finds_no_memory_is_not_the_models_fault() -> None:
    words = r"out of memory on cpu after .*the model: can't start new thread"
    with pytest.raises(TrainingError, match=words), explain_oom("cpu"), loading("the model", TrainingError):
        raise RuntimeError("can't start new thread")
