"""What docs/security.md claims of the code: scans of every file, and the doors tried."""

from __future__ import annotations

import ast
import os
import pickle
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.own_ray import BIN, free_ports, wait_for
from support.paths import ROOT

from base.errors import ApportionError, PoolError, RewardError
from metrics.reward.verifier import import_function
from pools.config import PoolConfig
from pools.sources import load_pool

FILES = [
    path for package in ("pools", "metrics", "trainers", "search") for path in (ROOT / package).rglob("*.py")
]
# A trial's own checkpoints are DeepSpeed's files, which are pickles: whoever may write to the storage of
# checkpoints is trusted (docs/security.md).
PICKLES_ALLOWED = {"trainers/training/checkpoint.py"}
UNPICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
RUNS_TEXT = {"eval", "exec", "compile", "__import__"}
RUNS_FILES = {"spec_from_file_location", "run_path", "run_module"}


def calls(source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every call: its dotted name, and the keywords whose values are constants (others are None)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            given = {key.arg or "**": getattr(key.value, "value", None) for key in node.keywords}
            yield ast.unparse(node.func), given


def loads_code_or_pickles(source: str) -> list[str]:
    """What in a file could run code that came with a model, a pool or a study's folder."""
    wrong = []
    for name, given in calls(source):
        last = name.rpartition(".")[2]
        if given.get("trust_remote_code"):
            wrong.append(f"{name} trusts remote code")
        if (
            last == "from_pretrained"
            and "Model" in name
            and not (given.get("use_safetensors") or "gguf_file" in given)
        ):
            wrong.append(f"{name} may read a pickle")
        if last == "from_pretrained" and given.get("trust_remote_code", False) is not False:
            wrong.append(f"{name} may trust remote code")
        if name in ("torch.load", "numpy.load", "np.load") and not given.get("weights_only"):
            wrong.append(f"{name} may read a pickle")
        if name in RUNS_TEXT or last in RUNS_FILES:
            wrong.append(f"{name} runs text")
        if name in ("yaml.load", "yaml.unsafe_load", "yaml.full_load"):
            wrong.append(f"{name} makes objects of a file's choosing")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            wrong += [f"imports {name}" for name in names if name.partition(".")[0] in UNPICKLERS]
    return wrong


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_runs_what_it_reads(path: Path) -> None:
    found = loads_code_or_pickles(path.read_text())
    if str(path.relative_to(ROOT)) in PICKLES_ALLOWED:
        found = [what for what in found if what != "torch.load may read a pickle"]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "AutoModelForCausalLM.from_pretrained(x)",
        "AutoModel.from_pretrained(x, use_safetensors=True, trust_remote_code=True)",
        "AutoTokenizer.from_pretrained(x, trust_remote_code=config.trust)",
        "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "np.load(x, allow_pickle=True)",
        "import pickle",
        "from cloudpickle import loads",
        "yaml.load(x)",
        "eval(x)",
        "importlib.util.spec_from_file_location('m', x)",
        "load_dataset(x, trust_remote_code=True)",
    ],
)
def test_the_scan_finds(source: str) -> None:
    assert loads_code_or_pickles(source)


class Payload:
    """Unpickled, it leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", ["pool.jsonl", "pool.parquet", "pool.pkl", "pool.pt"])
def test_a_pickle_in_the_place_of_a_pool_is_not_loaded(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    with pytest.raises(PoolError):
        load_pool(PoolConfig(path=str(tmp_path / name)), seed=0, min_responses=2)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_in_the_place_of_weights_is_not_loaded(tmp_path: Path) -> None:
    from transformers import LlamaConfig

    from trainers.models import load_policy

    LlamaConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    ).save_pretrained(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(tmp_path / "ran")))
    with pytest.raises(ApportionError, match="safetensors"):
        load_policy(str(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_a_model_with_code_of_its_own_is_refused(tmp_path: Path) -> None:
    from trainers.models import load_policy

    (tmp_path / "config.json").write_text(
        '{"model_type": "mine", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}'
    )
    (tmp_path / "code.py").write_text(f"import os; os.mkdir({str(tmp_path / 'ran')!r})")
    with pytest.raises(ApportionError):
        load_policy(str(tmp_path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "name", ["/tmp/mine.py:score", "./mine:score", "mine.py:score()", "os; import sys:path"]
)
def test_a_verifier_is_named_never_given_as_a_file(name: str) -> None:
    with pytest.raises(RewardError):
        import_function(name)


@pytest.mark.slow
def test_the_tracking_server_of_a_head_is_for_its_own_machine(tmp_path: Path) -> None:
    """`clusters/mlflow.sh` as `ray up` runs it: on localhost alone, and deaf to names from elsewhere."""
    (port,) = free_ports(1)
    environment = {**os.environ, "HOME": str(tmp_path), "PATH": f"{BIN}:{os.environ['PATH']}"}
    script = ["bash", str(ROOT / "clusters" / "mlflow.sh"), str(port)]
    subprocess.run(script, env=environment, check=True, timeout=20)
    servers = [p for p in psutil.process_iter() if str(tmp_path) in " ".join(_command(p))]
    try:
        assert wait_for(lambda: _status(port, "localhost") == 200, 120, "tracking server")
        assert _status(port, f"127.0.0.1:{port}") == 200
        assert _status(port, "evil.example.com") == 403  # a page elsewhere that points its name here
        servers = [p for p in psutil.process_iter() if str(tmp_path) in " ".join(_command(p))]
        addresses = {
            c.laddr.ip
            for c in psutil.net_connections("inet")
            if c.laddr.port == port and c.status == "LISTEN"
        }
        assert addresses == {"127.0.0.1"}
        assert (
            subprocess.run(script, env=environment, timeout=20).returncode == 0
        )  # the second finds it there
    finally:
        for process in servers:
            for child in [*process.children(recursive=True), process]:
                child.kill()


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def _status(port: int, host: str) -> int:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/search?max_results=1", headers={"Host": host}
    )
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
