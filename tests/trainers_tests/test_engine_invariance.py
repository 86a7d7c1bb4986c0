"""Loss and gradient do not depend on how a step is cut: into micro-batches, over workers, or by ZeRO."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

WORKER = Path(__file__).with_name("invariance_worker.py")
WHOLE, CUT = 10_000, 64
ALGORITHMS = ("sft", "pro", "dpo")


def run(folder: Path, world: int, cases: list[str]) -> dict[str, list[list[float]]]:
    """Train every case in one group of `world` processes."""
    out = folder / f"{world}.json"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = str(WORKER.parent.parent.parent)
    shared = {
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(world),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([root, str(WORKER.parent)]),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(out), *cases],
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(world)
    ]
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), said[0][-3000:]
    return json.loads(out.read_text())


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[float]]]:
    cases = [f"{name}/1/{WHOLE}" for name in ALGORITHMS]
    return run(tmp_path_factory.mktemp("alone"), 1, cases + [f"pro/{s}/{CUT}" for s in range(4)])


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[list[float]]]:
    cases = [f"{name}/1/{CUT}" for name in ALGORITHMS]
    return run(tmp_path_factory.mktemp("together"), 2, cases + [f"pro/{s}/{CUT}" for s in (0, 2, 3)])


def assert_same(found: list[list[float]], expected: list[list[float]]) -> None:
    for (loss, norm), (wanted_loss, wanted_norm) in zip(found, expected, strict=True):
        assert loss == pytest.approx(wanted_loss, rel=2e-5, abs=2e-5)
        assert wanted_norm > 0
        assert norm == 0 or norm == pytest.approx(wanted_norm, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("stage", range(4))
def test_micro_batches_and_zero_change_nothing(stage: int, alone: dict[str, list[list[float]]]) -> None:
    assert_same(alone[f"pro/{stage}/{CUT}"], alone[f"pro/1/{WHOLE}"])


@pytest.mark.slow
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_workers_equal_one(
    stage: int, alone: dict[str, list[list[float]]], together: dict[str, list[list[float]]]
) -> None:
    assert_same(together[f"pro/{stage}/{CUT}"], alone[f"pro/1/{WHOLE}"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ALGORITHMS)
def test_every_kind_of_algorithm_is_invariant(
    name: str, alone: dict[str, list[list[float]]], together: dict[str, list[list[float]]]
) -> None:
    assert_same(together[f"{name}/1/{CUT}"], alone[f"{name}/1/{WHOLE}"])


@pytest.mark.slow
def test_the_loss_falls(alone: dict[str, list[list[float]]]) -> None:
    """Guards the others: four equal steps of an engine that never learns would pass them."""
    steps = [loss for loss, _ in alone[f"sft/1/{WHOLE}"]]
    assert steps[-1] < steps[0] - 0.1
