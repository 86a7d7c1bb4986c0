"""The files that bring up clusters obey their rules, and each rule finds a file that breaks it."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from support import cluster_rules as rules
from support.cluster_rules import LAUNCHED
from support.paths import ROOT

EVERYWHERE = [
    rules.ray_reads_it,
    rules.nodes_get_the_whole_project,
    rules.nothing_is_public,
    rules.token_is_asked_for,
]
IN_A_CLOUD = [rules.head_holds_no_model, rules.workers_come_and_go, rules.machines_fit]
KUBERAY = [rules.kuberay_has_its_fields, rules.kuberay_scales, rules.kuberay_is_closed]
Rule = Callable[[dict[str, Any]], list[str]]


def read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((ROOT / name).read_text())
    return content


@pytest.mark.parametrize("name", LAUNCHED)
@pytest.mark.parametrize("rule", EVERYWHERE, ids=lambda rule: rule.__name__)
def test_a_launched_cluster(name: str, rule: Rule) -> None:
    assert rule(read(name)) == []


@pytest.mark.parametrize("name", ["cluster.yaml", "clusters/gcp.yaml"])
@pytest.mark.parametrize("rule", IN_A_CLOUD, ids=lambda rule: rule.__name__)
def test_a_cluster_in_a_cloud(name: str, rule: Rule) -> None:
    assert rule(read(name)) == []


def test_machines_on_aws() -> None:
    assert rules.aws_machines_are_closed(read("cluster.yaml")) == []


@pytest.mark.parametrize("rule", KUBERAY, ids=lambda rule: rule.__name__)
def test_kuberay(rule: Rule) -> None:
    assert rule(read("clusters/kuberay.yaml")) == []


@pytest.mark.parametrize("part", ["head", "worker"])
def test_policies_give_the_least(part: str) -> None:
    assert rules.policy_is_least(json.loads((ROOT / f"clusters/aws_{part}_policy.json").read_text())) == []


@pytest.mark.parametrize("path", ["cluster.yaml", *sorted(p.name for p in (ROOT / "clusters").iterdir())])
def test_no_file_holds_a_secret(path: str) -> None:
    file = ROOT / path if path == "cluster.yaml" else ROOT / "clusters" / path
    assert rules.no_secret(file.read_text()) == []


def test_the_policy_knows_the_machines_of_the_cluster() -> None:
    types = read("cluster.yaml")["available_node_types"]
    workers = {kind["node_config"]["InstanceType"] for kind in types.values() if kind["max_workers"]}
    policy = json.loads((ROOT / "clusters/aws_head_policy.json").read_text())
    launch = next(s for s in policy["Statement"] if s["Sid"] == "LaunchWorkersOfThisClusterAlone")
    assert set(launch["Condition"]["StringEquals"]["ec2:InstanceType"]) == workers


def test_images_hold_the_pinned_ray() -> None:
    base = re.search(
        r"^FROM rayproject/ray:(\S+)-py311-cpu$", (ROOT / "clusters/Dockerfile").read_text(), re.M
    )
    assert base and base[1] == rules.pinned("ray")


def test_torch_is_installed_as_pinned() -> None:
    for name in ("install.sh", "Dockerfile"):
        text = (ROOT / "clusters" / name).read_text()
        assert "grep '^torch==' constraints.txt" in text and not re.search(r"torch==\d", text)
        assert "-c constraints.txt" in text


# --- each rule, broken -------------------------------------------------------------------------------

Break = Callable[[dict[str, Any]], object]
GPU = ("available_node_types", "gpu-spot", "node_config")


def put(*path: Any, value: Any) -> Break:
    def change(tree: dict[str, Any]) -> None:
        *steps, leaf = path
        for step in steps:
            tree = tree[step]
        tree[leaf] = value

    return change


def drop(*path: Any) -> Break:
    def change(tree: dict[str, Any]) -> None:
        *steps, leaf = path
        for step in steps:
            tree = tree[step]
        del tree[leaf]

    return change


TYPES = "available_node_types"
CLUSTER = ("spec", "rayClusterSpec")
BROKEN: list[tuple[str, Rule, Break]] = [
    ("cluster.yaml", rules.ray_reads_it, put("max_worker", value=3)),
    ("cluster.yaml", rules.ray_reads_it, put("head_node_type", value="gone")),
    ("clusters/local.yaml", rules.ray_reads_it, put("idle_timeout_minutes", value="ten")),
    ("cluster.yaml", rules.nodes_get_the_whole_project, drop("file_mounts", "~/apportion/metrics")),
    ("cluster.yaml", rules.nodes_get_the_whole_project, put("file_mounts", "~/x", value="nowhere")),
    ("cluster.yaml", rules.nothing_is_public, drop("provider", "security_group")),
    ("cluster.yaml", rules.nothing_is_public, put("provider", "security_group", "IpPermissions", value=[])),
    (
        "clusters/gcp.yaml",
        rules.nothing_is_public,
        put("head_start_ray_commands", value=["ray start --head --dashboard-host=0.0.0.0"]),
    ),
    (
        "clusters/local.yaml",
        rules.nothing_is_public,
        put("head_start_ray_commands", value=["ray start --head"]),
    ),
    ("cluster.yaml", rules.token_is_asked_for, drop("file_mounts", "~/.ray/auth_token")),
    ("cluster.yaml", rules.token_is_asked_for, put("setup_commands", value=[])),
    ("cluster.yaml", rules.head_holds_no_model, put(TYPES, "head", "resources", "CPU", value=8)),
    (
        "cluster.yaml",
        rules.head_holds_no_model,
        put(TYPES, "head", "node_config", "InstanceType", value="g6e.2xlarge"),
    ),
    ("cluster.yaml", rules.workers_come_and_go, put(TYPES, "gpu-spot", "min_workers", value=1)),
    ("cluster.yaml", rules.workers_come_and_go, put(TYPES, "gpu-on-demand", "priority", value=2)),
    ("cluster.yaml", rules.workers_come_and_go, drop(*GPU, "InstanceMarketOptions")),
    ("clusters/gcp.yaml", rules.workers_come_and_go, drop("idle_timeout_minutes")),
    ("cluster.yaml", rules.machines_fit, put(TYPES, "gpu-spot", "resources", "GPU", value=4)),
    ("cluster.yaml", rules.aws_machines_are_closed, put(*GPU, "MetadataOptions", value={})),
    ("cluster.yaml", rules.aws_machines_are_closed, drop(*GPU, "IamInstanceProfile")),
    ("cluster.yaml", rules.aws_machines_are_closed, drop(*GPU, "TagSpecifications")),
    ("cluster.yaml", rules.aws_machines_are_closed, drop(*GPU, "BlockDeviceMappings")),
    (
        "clusters/kuberay.yaml",
        rules.kuberay_has_its_fields,
        drop(*CLUSTER, "workerGroupSpecs", 0, "template"),
    ),
    ("clusters/kuberay.yaml", rules.kuberay_has_its_fields, drop("apiVersion")),
    ("clusters/kuberay.yaml", rules.kuberay_scales, drop(*CLUSTER, "enableInTreeAutoscaling")),
    (
        "clusters/kuberay.yaml",
        rules.kuberay_scales,
        put(*CLUSTER, "headGroupSpec", "rayStartParams", value={}),
    ),
    (
        "clusters/kuberay.yaml",
        rules.kuberay_scales,
        put(*CLUSTER, "workerGroupSpecs", 0, "minReplicas", value=1),
    ),
    ("clusters/kuberay.yaml", rules.kuberay_is_closed, drop(*CLUSTER, "authOptions")),
    ("clusters/kuberay.yaml", rules.kuberay_is_closed, put(*CLUSTER, "rayVersion", value="2.9.0")),
    (
        "clusters/kuberay.yaml",
        rules.kuberay_is_closed,
        put(*CLUSTER, "headGroupSpec", "serviceType", value="LoadBalancer"),
    ),
    (
        "clusters/kuberay.yaml",
        rules.kuberay_is_closed,
        put(
            *CLUSTER, "headGroupSpec", "template", "spec", "containers", 1, "args", 0, value="--host=0.0.0.0"
        ),
    ),
    ("clusters/aws_head_policy.json", rules.policy_is_least, put("Statement", 1, "Resource", value="*")),
    ("clusters/aws_head_policy.json", rules.policy_is_least, put("Statement", 1, "Action", value="ec2:*")),
    ("clusters/aws_head_policy.json", rules.policy_is_least, drop("Statement", 5, "Condition")),
]


@pytest.mark.parametrize(
    ("name", "rule", "change"), BROKEN, ids=[f"{n}-{r.__name__}-{i}" for i, (n, r, _) in enumerate(BROKEN)]
)
def test_a_broken_file_is_found(name: str, rule: Rule, change: Break) -> None:
    broken = copy.deepcopy(json.loads(json.dumps(read(name))))
    change(broken)
    assert rule(broken)


@pytest.mark.parametrize(
    "text", ["key: AKIAABCDEFGHIJKLMNOP", "password: hunter2hunter2", "-----BEGIN OPENSSH PRIVATE KEY-----"]
)
def test_a_secret_is_found(text: str) -> None:
    assert rules.no_secret(text)
