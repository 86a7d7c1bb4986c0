"""An environment of its own for what people would use instead: pinned, and never a dependency."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

PEER = "trl==1.16.0"
ROOT = Path(__file__).parents[1]
# What our own modules need beside torch, transformers and datasets, which TRL brings.
OURS = ("pydantic", "pyyaml", "gguf", "filelock")


def run_inside(module: str, arguments: Sequence[str], *more: str, peer: str = PEER) -> int:
    """Exit status of `python -m module` there, with our packages beside the peer's and `more` installed."""
    inside = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [str(_python(peer, more)), "-m", module, *arguments], env=inside, cwd=ROOT
    ).returncode


def _python(peer: str, more: Sequence[str]) -> Path:
    """The interpreter; its environment is made where there is none."""
    wanted = [peer, *OURS, *more]
    digest = hashlib.sha256(repr((wanted, (ROOT / "constraints.txt").read_text())).encode()).hexdigest()[:8]
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "apportion" / f"peers-{digest}"
    python, ready = folder / "bin" / "python", folder / "ready"
    if not ready.exists():
        print(f"installing {peer} in {folder} ...", file=sys.stderr, flush=True)
        venv.create(folder, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt")]
        subprocess.run([*install, "torch"], check=True)
        subprocess.run([*install, *wanted], check=True)
        ready.touch()
    return python
