"""How many trials a cluster holds at a time: as it stands, or as large as its autoscaler may make it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from base.errors import ConfigError
from search.cluster.config import ClusterConfig
from trainers.config.trainer import ResourcesConfig

Nodes: TypeAlias = Sequence[tuple[Mapping[str, float], int]]  # what a machine has, and how many are like it


def concurrent_trials(cluster: ClusterConfig, resources: ResourcesConfig, asked: int) -> int:
    """How many trials run at the same time: `asked` (search.max_concurrent), or as many as the cluster holds.

    A cluster that grows is counted at its largest, since trials that wait are what makes it grow. Raises
    ConfigError where not even one trial could ever be placed, which would otherwise wait for ever; where
    `search.max_concurrent` is set and nothing says how far the cluster grows, that cannot be known.
    """
    import ray

    nodes: Nodes = [(node["Resources"], 1) for node in ray.nodes() if node["Alive"]]
    path = cluster.limits()
    if path is not None:
        nodes = max(largest(path, resources), nodes, key=lambda some: trials_held(some, resources))
    fits = trials_held(nodes, resources)
    if not fits and (path is not None or not asked):
        raise ConfigError(_too_large(nodes, resources, grows=path is not None))
    return asked or fits


def trials_held(nodes: Nodes, resources: ResourcesConfig) -> int:
    """How many trials `nodes` hold at a time, each of a trial's workers whole on one of them."""
    return sum(slots(have, resources) * count for have, count in nodes) // resources.workers


def slots(have: Mapping[str, float], resources: ResourcesConfig) -> int:
    """How many workers one machine holds."""
    return min(int(have.get(kind, 0.0) / amount + 1e-9) for kind, amount in resources.per_worker.items())


def largest(path: Path, resources: ResourcesConfig) -> Nodes:
    """The cluster at its largest, by the launcher's file at `path`: first the kinds that hold most workers.

    Raises ConfigError where the file cannot be read or describes no cluster.
    """
    try:
        limits: dict[str, Any] = yaml.safe_load(path.read_text())
        kinds = dict(limits["available_node_types"])
        nodes: list[tuple[Mapping[str, float], int]] = [(kinds.pop(limits["head_node_type"])["resources"], 1)]
        left = int(limits["max_workers"])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path} (cluster.autoscaling) does not say how far the cluster may grow: {error!r}"
        ) from error
    for kind in sorted(kinds.values(), key=lambda kind: -slots(kind["resources"], resources)):
        count = min(left, kind.get("max_workers", left))
        nodes.append((kind["resources"], count))
        left -= count
    return nodes


def _too_large(nodes: Nodes, resources: ResourcesConfig, *, grows: bool) -> str:
    need = resources.per_worker
    whole = sum(slots(have, resources) * count for have, count in nodes)
    fields = " and ".join(f"resources.{kind.lower()}s_per_worker {amount:g}" for kind, amount in need.items())
    machines = "; ".join(f"{count} x {_shown(have, need)}" for have, count in nodes if count)
    grown = "may grow to" if grows else "is"
    hint = "" if grows else ", or set search.max_concurrent if the cluster grows on demand"
    return (
        f"a trial takes {resources.workers} workers (resources.workers) with {fields}, each on one machine; "
        f"the cluster {grown} {machines}, which holds {whole}: ask for less{hint}"
    )


def _shown(have: Mapping[str, float], need: Mapping[str, float]) -> str:
    return ", ".join(f"{have.get(kind, 0.0):g} {kind}s" for kind in need)
