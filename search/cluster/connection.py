"""Joining or starting Ray."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from base.errors import ApportionError, ConfigError
from search.cluster.config import ClusterConfig

# Read by Ray when it is imported or when a trial starts; a value set by the user stays.
DRIVER = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",  # the study has a display of its own
    # A trial is ten small processes that mostly wait; Ray warns of more than four a core.
    "RAY_worker_maximum_startup_concurrency": "8",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
}
WORKERS = {
    # `ray.train` looks at its workers every 2 s by default, which each trial pays several times.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
# A machine that is ours alone is not taken away: nobody needs to watch for that, at a process a trial.
ALONE = {"RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0"}
# Held by the processes that only wait for workers: on the head they outlive every worker that is lost.
ON_HEAD = {"node:__internal_head__": 1e-4}


def start_ray(config: ClusterConfig, log: Path) -> None:
    """Join the cluster that `config.address` names, or start one on this machine.

    The dashboard is on in a cluster of our own: without it the workers of a stopped trial are never freed.
    What Ray has to say in this process goes to the file `log`.
    """
    _connect(config, log, config.address or None)


# 107 bytes of a socket's path, less "/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store"
_LONGEST_TMPDIR = 39


@contextmanager
def visited(config: ClusterConfig, log: Path) -> Iterator[bool]:
    """Within the block, a member of the study's cluster; False, with nothing started, where none is running.

    Also False for a cluster that has no CPU and is not known to grow, and for one behind a Ray client.
    """
    address = config.address
    if address == "local" or address.startswith("ray://"):
        yield False
        return
    import ray

    if ray.is_initialized():
        yield True
        return
    try:
        _connect(config, log, address or "auto")
    except ApportionError as error:
        if address or not isinstance(error.__cause__, ConnectionError):
            raise
        yield False
        return
    try:
        yield ray.cluster_resources().get("CPU", 0) >= 1 or config.limits() is not None
    finally:
        ray.shutdown()


def _connect(config: ClusterConfig, log: Path, address: str | None) -> None:
    for name, value in DRIVER.items():
        os.environ.setdefault(name, value)
    _check_address(config.address)
    alone = config.address in ("", "local") and "RAY_ADDRESS" not in os.environ
    if alone:
        _check_room_for_sockets()
    if config.address != "local" and (Path.home() / ".ray" / "auth_token").exists():
        # Ray uses the token by itself when it starts a cluster, but not when it joins one.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)  # only now: its import sets another level
    wanted = WORKERS | (ALONE if alone else {})
    try:
        ray.init(
            address=address,
            runtime_env={"env_vars": {name: os.environ.get(name, value) for name, value in wanted.items()}},
            log_to_driver=False,
            configure_logging=False,
        )
    except Exception as error:  # Ray raises everything from ConnectionError to bare Exception here
        where = config.address or "this machine"
        raise ApportionError(f"Ray did not start on {where} (cluster.address): {error}") from error
    _talk_to(log)  # only now: starting takes all handlers away


def _talk_to(log: Path) -> None:
    logger = logging.getLogger("ray")
    log.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)


def _check_room_for_sockets() -> None:
    """Raise ConfigError where Ray's temporary folder is too long for the sockets that it opens below it."""
    name = next((name for name in ("RAY_TMPDIR", "TMPDIR") if name in os.environ), "")
    if name and len(os.environ[name].encode()) > _LONGEST_TMPDIR:
        raise ConfigError(
            f"{name} is {os.environ[name]}, of {len(os.environ[name])} characters: Ray's sockets lie below it, and "
            f"their paths are limited; set RAY_TMPDIR to a folder of at most {_LONGEST_TMPDIR} characters, such as "
            "/tmp"
        )


def _check_address(address: str) -> None:
    """Raise ConfigError where nobody listens at `host:port`: Ray itself would try for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise ConfigError(f'no Ray cluster answers at cluster.address "{address}": {error}') from error


def how_to_see(environ: Mapping[str, str] = os.environ) -> str:
    """How to see a cluster's pages from the user's machine, if the cluster's file says so; else ""."""
    command = environ.get("APPORTION_VIEW", "")
    if not command:
        return ""
    return (
        f"to watch from your own machine, run there: {command}\n"
        "  and open http://127.0.0.1:8265 (Ray's dashboard) and http://127.0.0.1:5000 (MLflow)"
    )


def stop_ray() -> None:
    """Leave the cluster; one that `start_ray` started ends, with all its processes."""
    import ray

    ray.shutdown()
