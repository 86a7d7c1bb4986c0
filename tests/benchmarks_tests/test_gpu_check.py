"""The check of a GPU, as it runs without one: each part alone, and what is said of those that cannot run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import _gpu_parts, gpu_check

ROOT = Path(__file__).parents[2]


def test_every_part_has_its_limit_and_all_fit_into_the_time() -> None:
    assert list(gpu_check.LIMITS) == list(_gpu_parts.PARTS)


@pytest.mark.parametrize("part", ["attention", "generation"])
def test_a_part_runs_in_small_on_a_cpu(part: str) -> None:
    found = gpu_check.outcome(part, "cpu", tiny=True)
    assert found["status"] == "ok", found
    assert json.loads(json.dumps(found)) == found, "it travels as JSON"


@pytest.mark.slow
@pytest.mark.parametrize("part", ["step 135M", "zero 0", "zero 2"])
def test_a_larger_part_runs_in_small_on_a_cpu(part: str) -> None:
    """Each in a process of its own, as the command runs them: a process makes one group of workers."""
    assert gpu_check.apart(part, "cpu", tiny=True, seconds=200)["status"] == "ok"


def test_wrong_attention_fails_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.policy.flex.gaps", lambda *_: torch.tensor([0.0, 0.0, 0.3, 0.0]))
    _gpu_parts.flex.obstacle.cache_clear()
    found = gpu_check.outcome("attention", "cpu", tiny=True)
    _gpu_parts.flex.obstacle.cache_clear()
    assert found["status"] == "failed" and "is off by 0.3" in found["reason"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(("part", "device"), [("study", "cpu"), ("attention", "cuda")])
def test_what_needs_a_gpu_is_not_run_without(part: str, device: str) -> None:
    assert gpu_check.outcome(part, device, tiny=True) == {"status": "not run", "reason": "no CUDA"}


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_gpu_parts, "find_spec", lambda name: None)
    found = gpu_check.outcome("zero 2", "cpu", tiny=True)
    assert found == {"status": "not run", "reason": "not installed: deepspeed, pydantic"}


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.kill(os.getpid(), 11)", "ended with code -11: no message"),
        ("import sys; sys.exit('the driver is gone')", "ended with code 1: the driver is gone"),
        ("import time; time.sleep(60)", "not done after 1 s"),
    ],
)
def test_a_part_that_ends_or_hangs_fails_alone(
    code: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = subprocess.run

    def broken(command: list[str], **options: Any) -> Any:
        if "attention" in command:
            return run([sys.executable, "-c", code], **options)
        return run([sys.executable, "-c", """print('{"status": "ok", "figures": {"ms": 3}}')"""], **options)

    monkeypatch.setattr(subprocess, "run", broken)
    monkeypatch.setitem(gpu_check.LIMITS, "attention", 1.0)
    monkeypatch.setattr(sys, "argv", ["gpu_check", "--only", "attention", "--only", "machine"])
    with pytest.raises(SystemExit) as ended:
        gpu_check.main()
    table, last = capsys.readouterr().out.strip().rsplit("\n", 1)
    parts = json.loads(last)["parts"]
    assert ended.value.code == 1 and parts["attention"]["reason"].startswith(reason)
    assert parts["machine"]["figures"] == {"ms": 3}
    assert f"failed: {reason}" in table and "ms" in table
