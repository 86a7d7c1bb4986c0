"""Ray clusters for tests: on ports and folders of their own, ended process by process.

`ray stop` is never used here: it would end every Ray on the machine, whoever started it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

BIN = Path(sys.executable).parent
MARK = "APPORTION_TEST_CLUSTER"  # in the environment of every process of a test's cluster
HEAD_ID = "f" * 51 + "00000"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for(true: Callable[[], Any], seconds: float, what: str) -> Any:
    """The first true value of `true`; fails the test where none comes in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := true():
            return value
        time.sleep(0.2)
    raise AssertionError(f"no {what} within {seconds:.0f} s")


def marked(mark: str) -> list[psutil.Process]:
    """The processes that were started with `mark` in their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                found.append(process)
    return found


def end(mark: str) -> None:
    """Kill the marked processes, and those that they start meanwhile."""
    for _ in range(20):
        alive = [process for process in marked(mark) if process.status() != psutil.STATUS_ZOMBIE]
        if not alive:
            return
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(alive, timeout=2)
    raise AssertionError(f"still running: {alive}")


@dataclass
class OwnRay:
    """The ports, folder and environment of one cluster."""

    folder: Path
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    ports: list[int] = field(default_factory=lambda: free_ports(5))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.ports[0]}"

    @property
    def dashboard(self) -> str:
        return f"http://127.0.0.1:{self.ports[1]}"

    @property
    def token(self) -> str:
        """What everyone who speaks to the cluster must show."""
        return self.mark * 4

    def start_head(self) -> str:
        """The command that starts the head."""
        gcs, dashboard, client, agent, _ = self.ports
        return (
            f"ray start --head --node-ip-address=127.0.0.1 --port={gcs} --dashboard-port={dashboard} "
            f"--ray-client-server-port={client} --dashboard-agent-listen-port={agent} "
            f"--min-worker-port=0 --max-worker-port=0 --temp-dir={self.folder} --disable-usage-stats"
        )

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of this cluster's processes, and of those who use it."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}
        token["RAY_worker_maximum_startup_concurrency"] = "8"  # as clusters/node.sh does
        own = {MARK: self.mark, "RAY_ADDRESS": self.address, "PATH": f"{BIN}:{os.environ['PATH']}"}
        return {**inherited, **token, **own, **more}

    def run(self, *command: str, environment: Mapping[str, str], timeout: float) -> str:
        """Run a command to its end; fails the test with what it said where its status is not 0."""
        done = subprocess.run(command, env=dict(environment), capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout


@contextlib.contextmanager
def own_ray() -> Iterator[OwnRay]:
    """A cluster's place, short enough for Ray's sockets; whatever runs there is ended with the block."""
    folder = Path(tempfile.mkdtemp(prefix="ap", dir="/tmp"))
    cluster = OwnRay(folder)
    try:
        yield cluster
    finally:
        end(cluster.mark)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def growing_cluster(workers: int) -> Iterator[tuple[OwnRay, Path]]:
    """A head without CPUs whose autoscaler starts up to `workers` nodes with one CPU, as processes here.

    Yields the cluster and the launcher's file. The autoscaler is Ray's own (version 2); its machines come
    from `FakeMultiNodeProvider`, as `ray.cluster_utils.AutoscalingCluster` cannot start from Ray's wheel.
    """
    with own_ray() as cluster:
        launcher = cluster.folder.with_suffix(".json")
        launcher.write_text(json.dumps(_launcher(cluster.address, workers)))
        fake = {"RAY_FAKE_CLUSTER": "1", "RAY_enable_autoscaler_v2": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1"}
        fake |= {"RAY_CLOUD_INSTANCE_ID": HEAD_ID, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID}
        quick = {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "8"}
        command = f"{cluster.start_head()} --num-cpus=0 --autoscaling-config={launcher}"
        try:
            cluster.run(*command.split(), environment=cluster.environment(**fake, **quick), timeout=150)
            yield cluster, launcher
        finally:
            end(cluster.mark)
            launcher.unlink()


def _launcher(address: str, workers: int) -> dict[str, Any]:
    module = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
    lists = (
        "cluster_synced_files",
        "rsync_filter",
        "rsync_exclude",
        "initialization_commands",
        "setup_commands",
    )
    lists += ("head_setup_commands", "worker_setup_commands", "head_start_ray_commands")
    return {
        "cluster_name": "growing",
        "max_workers": workers,
        "idle_timeout_minutes": 0.15,
        "provider": {
            "type": "external",
            "module": module,
            "launch_multiple": True,
            "head_node_id": HEAD_ID,
            "gcs_address": address,
        },
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "available_node_types": {
            "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            "worker": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": workers},
        },
        "head_node_type": "ray.head.default",
        "worker_start_ray_commands": [],
        **{name: [] for name in lists},
    }


def worker_raylets(mark: str) -> dict[str, psutil.Process]:
    """The raylets of a growing cluster's worker nodes, by the node's id."""
    found = {}
    for process in marked(mark):
        with contextlib.suppress(psutil.Error):
            node = process.environ().get("RAY_OVERRIDE_NODE_ID_FOR_TESTING", HEAD_ID)
            if node != HEAD_ID and process.name() == "raylet" and process.status() != psutil.STATUS_ZOMBIE:
                found[node] = process
    return found
