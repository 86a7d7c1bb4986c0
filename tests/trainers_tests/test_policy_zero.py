"""Under every ZeRO stage and one or two workers, training takes the same steps."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any, get_args

import pytest

from trainers.algorithm_config import AlgorithmName

HERE = Path(__file__).parent
Case = tuple[str, str, int]
QUICK = [("pro", "segments", 0), ("pro", "segments", 3), ("dpo", "plain", 2)]
ALL = list(product(get_args(AlgorithmName), ("segments", "mask", "plain"), (0, 1, 2, 3)))


def train_on(workers: int, cases: list[Case], folder: Path) -> list[dict[str, Any]]:
    """What `zero_worker` reports for each case when `workers` processes train together."""
    out = folder / f"{workers}.json"
    environment = {
        **os.environ,
        "PYTHONPATH": f"{HERE.parent.parent}{os.pathsep}{HERE}",
        "DS_ACCELERATOR": "cpu",
    }
    environment |= {"OMP_NUM_THREADS": "1", "LOCAL_RANK": "0"}
    arguments = [str(workers), str(folder / f"store{workers}"), str(out), json.dumps(cases)]
    command = [sys.executable, str(HERE / "zero_worker.py")]
    processes = [
        subprocess.Popen(
            [*command, str(rank), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for rank in range(workers)
    ]
    outputs = [process.communicate(timeout=540)[0].decode() for process in processes]
    assert all(process.returncode == 0 for process in processes), outputs[0][-3000:] + outputs[-1][-3000:]
    results: list[dict[str, Any]] = json.loads(out.read_text())
    return results


def assert_alike(cases: list[Case], folder: Path) -> None:
    names = sorted({name for name, _, _ in cases})
    reference: list[Case] = [(name, "plain", 1) for name in names]
    alone, together = train_on(1, [*reference, *cases], folder), train_on(2, cases, folder)
    expected = dict(zip(names, alone, strict=False))
    for workers, results in ((1, alone[len(names) :]), (2, together)):
        for case, got in zip(cases, results, strict=True):
            want, label = expected[case[0]], f"{case} on {workers}"
            assert got["losses"] == pytest.approx(want["losses"], rel=1e-4), label
            if case[2] > 0:  # without ZeRO and in float32 DeepSpeed clips but keeps no norm
                assert got["norms"] == pytest.approx(want["norms"], rel=1e-3), label
            assert got["answers"] == want["answers"], label


def test_zero_and_workers_change_nothing(tmp_path: Path) -> None:
    assert_alike(QUICK, tmp_path)


@pytest.mark.slow
def test_every_algorithm_path_and_stage(tmp_path: Path) -> None:
    assert_alike(ALL, tmp_path)
