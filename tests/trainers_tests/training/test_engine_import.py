"""What a worker does not use, it does not import."""

from __future__ import annotations

import subprocess
import sys


def test_deepspeed_comes_without_mlflow_and_without_the_compiler() -> None:
    code = (
        "import sys, torch; compiler = torch.compile\n"
        "from trainers.training.engine import import_deepspeed; import_deepspeed()\n"
        "import deepspeed.runtime.zero.muon.muon_optimizer\n"
        "assert not {'mlflow', 'torch._inductor.compile_fx'} & sys.modules.keys()\n"
        "assert torch.compile is compiler; import mlflow"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
