"""`ray up` and `ray submit`, literally, to a machine reached by ssh: this one, with a home of its own."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.own_ray import MARK, OwnRay, own_ray, wait_for
from support.paths import ROOT

PACKAGES = {"sshd": "openssh-server", "ssh": "openssh-client", "rsync": "rsync"}
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def sshd() -> str:
    """Where sshd is; it and rsync are installed from Debian where that is allowed."""
    paths = f"{os.environ['PATH']}:/usr/sbin"
    missing = [package for tool, package in PACKAGES.items() if not shutil.which(tool, path=paths)]
    if os.geteuid() or not shutil.which("apt-get"):
        if missing or os.geteuid():
            pytest.skip(f"ray submit is NOT tested: needs root, apt-get, {', '.join(missing) or 'port 22'}")
    elif missing:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
            done = subprocess.run(
                ["apt-get", "-q", *command], env=environment, capture_output=True, text=True
            )
        if done.returncode:
            pytest.skip(
                f"ray submit is NOT tested: {', '.join(missing)} could not be installed: {done.stderr}"
            )
    found = shutil.which("sshd", path=paths)
    assert found
    return found


@contextlib.contextmanager
def machine(sshd: str, cluster: OwnRay, home: Path, laptop: Path) -> Iterator[str]:
    """The address of a machine whose only user's home is `home`, and to which the key in `laptop` opens."""
    # Ray's launcher knows no other port than 22: an address of the loopback's own keeps it from being taken.
    address = f"127.{secrets.randbelow(200) + 20}.{secrets.randbelow(250)}.{secrets.randbelow(250) + 1}"
    etc = cluster.folder / "ssh"
    etc.mkdir()
    for name, path in (("host", etc / "host_key"), ("user", laptop / "id_ed25519")):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", path], check=True)
    own = f"HOME={home} {MARK}={cluster.mark} RAY_ADDRESS={cluster.address}"
    (etc / "sshd_config").write_text(
        f"ListenAddress {address}\nPort 22\nHostKey {etc}/host_key\nPidFile {etc}/pid\n"
        f"AuthorizedKeysFile {laptop}/id_ed25519.pub\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
        f"PermitRootLogin prohibit-password\nSetEnv {own}\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    command = [sshd, "-D", "-f", etc / "sshd_config", "-E", etc / "log"]
    with subprocess.Popen(command, env={**os.environ, MARK: cluster.mark}) as server:
        try:
            wait_for(lambda: (etc / "pid").exists() or server.poll() is not None, 10, "sshd")
            assert server.poll() is None, (etc / "log").read_text()
            yield address
        finally:
            server.terminate()


def settings(cluster: OwnRay, address: str, laptop: Path, shared: Path) -> dict[str, Any]:
    """`clusters/local.yaml` for this machine: its address, key, ports and storage, and no `ray stop`.

    Nothing is installed: the home holds this very environment where `clusters/install.sh` would put one.
    """
    local: dict[str, Any] = yaml.safe_load((ROOT / "clusters" / "local.yaml").read_text())
    local["cluster_name"] = f"apportion-{cluster.mark}"
    local["provider"] |= {"head_ip": address, "worker_ips": []}
    local["auth"] = {"ssh_user": "root", "ssh_private_key": str(laptop / "id_ed25519")}
    local["head_setup_commands"] = [
        line.replace("/shared/apportion", str(shared))
        for line in local["head_setup_commands"]
        if "install.sh" not in line
    ]
    start = f"{cluster.start_head()} --num-cpus=2 --autoscaling-config=~/ray_bootstrap_config.yaml"
    local["head_start_ray_commands"] = [start]
    return local


def test_what_the_readme_says_works_as_typed(sshd: str, model: Path, tmp_path: Path) -> None:
    home, laptop, shared = tmp_path / "home", tmp_path / "laptop", tmp_path / "shared"
    (laptop / ".ray").mkdir(parents=True)
    (laptop / ".ray" / "auth_token").write_text(secrets.token_hex(32))
    home.mkdir()
    (home / ".bashrc").write_text("")
    (home / "apportion-env").symlink_to(sys.prefix)
    (shared / "pool").mkdir(parents=True)
    shutil.copy(ROOT / "pools" / "demo" / "demo.jsonl.gz", shared / "pool")
    with own_ray() as cluster, machine(sshd, cluster, home, laptop) as address:
        launcher = tmp_path / "local.yaml"
        launcher.write_text(yaml.safe_dump(settings(cluster, address, laptop, shared)))
        mine = {"HOME": str(laptop), MARK: cluster.mark, "PATH": cluster.environment()["PATH"]}
        study = f"--config configs/smoke.yaml --model.name {model} --output-dir {home}/runs/smoke"
        study += " --search.responses 2 --search.trials 2 --search.plan grid --search.seeds 1"
        study += " --trainer.learning_rate 0.01 --tracking.uri none"
        study += f" --pool.path {shared}/pool --pool.stream_above 0"  # so the cluster reads it
        try:
            run(f"ray up -y --no-config-cache {launcher}", mine, 200)
            said = run(f"ray submit {launcher} search/run.py -- {study}", mine, 300)
            assert "ray attach clusters/local.yaml -p 8265 -p 5000" in said
            assert f"the study is also in {shared}/smoke" in said
            found = json.loads((shared / "smoke" / "study" / "recommendation.json").read_text())
            assert found["budget"] == 32 and found["trials"] == 2
            assert "execution of Dataset" in (home / "runs" / "smoke" / "logs" / "ray.log").read_text()
            token = {**mine, "RAY_AUTH_MODE": "token"}
            again = f"ray job submit --address {cluster.dashboard} -- apportion study {study}"
            assert "nothing is left to train" in run(again, token, 120)
        finally:
            for path in Path("/tmp/ray").glob(f"cluster-apportion-{cluster.mark}.*"):
                path.unlink()


def run(command: str, environment: dict[str, str], timeout: float) -> str:
    """What a command, typed in the repository's folder, says; fails the test where it fails."""
    with subprocess.Popen(
        command.split(),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(
                f"{command}: not done in {timeout} s:\n{process.communicate()[0][-6000:]}"
            ) from None
    assert process.returncode == 0, said[-6000:]
    return said
