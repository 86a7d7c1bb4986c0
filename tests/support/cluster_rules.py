"""What must hold of the files that bring up clusters: each rule returns what is wrong with one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from support.paths import ROOT

LAUNCHED = ["cluster.yaml", "clusters/gcp.yaml", "clusters/local.yaml"]
# CPUs, GPUs, and the compute capability of the GPUs (vendors' data sheets).
MACHINES = {
    "m6i.2xlarge": (8, 0, 0.0),
    "g6e.2xlarge": (8, 1, 8.9),
    "n2-standard-8": (8, 0, 0.0),
    "g2-standard-8": (8, 1, 8.9),
}
# torch 2.13.0 on PyPI requires cuda-toolkit 13.0, which needs compute capability 7.5 and driver 580.
TORCH_CUDA = {"2.13.0": (7.5, 580)}
SECRET = re.compile(
    r"AKIA[0-9A-Z]{16}|-----BEGIN|hf_[A-Za-z0-9]{20}|"
    r"(?i:password|passwd|secret|api_?key|access_key)['\"]?\s*[:=]\s*['\"]?[\w/+-]{8}"
)


def pinned(package: str) -> str:
    """The version of `package` in constraints.txt."""
    found = re.search(rf"^{package}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert found, package
    return found[1]


def words(tree: Any) -> Iterator[str]:
    """Every text in a tree of YAML, keys included."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield str(key)
            yield from words(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from words(value)
    else:
        yield str(tree)


def ray_reads_it(cluster: dict[str, Any]) -> list[str]:
    from ray.autoscaler._private.util import prepare_config, validate_config

    try:
        validate_config(prepare_config(json.loads(json.dumps(cluster))))
    except Exception as error:  # jsonschema's and Ray's own, of many kinds
        return [str(error).splitlines()[0]]
    return []


def nodes_get_the_whole_project(cluster: dict[str, Any]) -> list[str]:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    found = project["tool"]["setuptools"]["packages"]["find"]["include"]
    packages = {name.removesuffix("*") for name in found}
    files = {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "clusters"}
    mounts = cluster["file_mounts"]
    wrong = [
        f"{part} is not mounted"
        for part in sorted(packages | files)
        if mounts.get(f"~/apportion/{part}") != part
    ]
    return wrong + [
        f"{path} is not there" for path in mounts.values() if "~" not in path and not (ROOT / path).exists()
    ]


def nothing_is_public(cluster: dict[str, Any]) -> list[str]:
    """Only ssh may come in: the dashboard is on localhost, no rule opens a port, no address is 0.0.0.0."""
    wrong = [f"{word!r} is open" for word in words(cluster) if "0.0.0.0" in word or "::/0" in word]
    provider = cluster["provider"]
    if provider["type"] == "aws":
        group = provider.get("security_group", {})
        if group.get("GroupName") != "apportion" or "IpPermissions" in group:
            wrong.append("provider.security_group is not the one of aws_setup.sh as it stands")
    starts = [line for line in cluster["head_start_ray_commands"] if "ray start --head" in line]
    if not starts or "--dashboard-host=127.0.0.1" not in starts[0]:
        wrong.append("the dashboard does not listen on localhost alone")
    return wrong


def token_is_asked_for(cluster: dict[str, Any]) -> list[str]:
    wrong = [] if "~/.ray/auth_token" in cluster["file_mounts"] else ["no token is brought to the nodes"]
    if "export RAY_AUTH_MODE=token\n" not in (ROOT / "clusters" / "node.sh").read_text():
        wrong.append("node.sh does not ask for the token")
    if not any("clusters/node.sh" in line for line in cluster["setup_commands"]):
        wrong.append("node.sh is not sourced")
    return wrong


def no_secret(text: str) -> list[str]:
    return [f"looks like a secret: {found[0]!r}" for found in SECRET.finditer(text)]


def head_holds_no_model(cluster: dict[str, Any]) -> list[str]:
    types = cluster["available_node_types"]
    head = types[cluster["head_node_type"]]
    wrong = [] if head["resources"] == {"CPU": 0} else ["trials may run on the head"]
    if machine(head)[1]:
        wrong.append("the head has a GPU")
    return wrong


def workers_come_and_go(cluster: dict[str, Any]) -> list[str]:
    """Spot machines from zero, before machines on demand; idle ones leave."""
    types = {name: kind for name, kind in cluster["available_node_types"].items() if kind.get("max_workers")}
    wrong = [f"{name} does not start from zero" for name, kind in types.items() if kind.get("min_workers")]
    spot = [kind for kind in types.values() if is_spot(kind)]
    demand = [kind for kind in types.values() if not is_spot(kind)]
    if not spot or not demand:
        wrong.append("spot machines and a type on demand are not both there")
    elif min(kind["priority"] for kind in spot) <= max(kind["priority"] for kind in demand):
        wrong.append("machines on demand come before spot machines")
    if not 0 < cluster.get("idle_timeout_minutes", 0) <= 30:
        wrong.append("idle machines stay")
    return wrong


def is_spot(kind: dict[str, Any]) -> bool:
    node = kind["node_config"]
    market = node.get("InstanceMarketOptions", {}).get("MarketType")
    return "spot" in (market, str(node.get("scheduling", {}).get("provisioningModel")).lower())


def machine(kind: dict[str, Any]) -> tuple[int, int, float]:
    node = kind["node_config"]
    return MACHINES[node.get("InstanceType") or node["machineType"]]


def machines_fit(cluster: dict[str, Any]) -> list[str]:
    """Declared resources are the machine's, and its GPU and driver can run the CUDA of the pinned torch."""
    capability, driver = TORCH_CUDA[pinned("torch")]
    wrong = []
    for name, kind in cluster["available_node_types"].items():
        if name == cluster["head_node_type"]:
            continue
        cpus, gpus, has = machine(kind)
        if kind["resources"] != {"CPU": cpus, "GPU": gpus}:
            wrong.append(f"{name} declares {kind['resources']}, has {cpus} CPUs and {gpus} GPUs")
        if has < capability:
            wrong.append(f"{name}: compute capability {has} cannot run torch {pinned('torch')}")
        image = str(kind["node_config"].get("disks"))
        if "nvidia-" in image and f"nvidia-{driver}" not in image:
            wrong.append(f"{name}: the image's driver is not {driver}")
    return wrong


def aws_machines_are_closed(cluster: dict[str, Any]) -> list[str]:
    """IMDSv2, encrypted disks that go with the machine, a profile each, tags for the bill."""
    wrong = []
    for name, kind in cluster["available_node_types"].items():
        node = kind["node_config"]
        metadata = node.get("MetadataOptions", {})
        if metadata.get("HttpTokens") != "required" or metadata.get("HttpPutResponseHopLimit") != 1:
            wrong.append(f"{name} answers to IMDSv1")
        part = "head" if name == cluster["head_node_type"] else "worker"
        if node.get("IamInstanceProfile") != {"Name": f"apportion-{part}"}:
            wrong.append(f"{name} has another instance profile")
        disks = [disk["Ebs"] for disk in node.get("BlockDeviceMappings", [])]
        if not disks or not all(disk.get("Encrypted") and disk.get("DeleteOnTermination") for disk in disks):
            wrong.append(f"{name} has a disk that is not encrypted, or that stays")
        tagged = {
            spec["ResourceType"]
            for spec in node.get("TagSpecifications", [])
            if {"Key": "project", "Value": "apportion"} in spec["Tags"]
        }
        if tagged != {"instance", "volume"}:
            wrong.append(f"{name} is not tagged for the bill")
    return wrong


def policy_is_least(policy: dict[str, Any]) -> list[str]:
    """No wildcard action; resources named, but for looking; launching and ending tied to this cluster."""
    wrong = []
    for statement in policy["Statement"]:
        actions, name = statement["Action"], statement["Sid"]
        actions = [actions] if isinstance(actions, str) else actions
        if wild := [action for action in actions if "*" in action]:
            wrong.append(f"{name}: {wild[0]}")
        looks = all(action.startswith("ec2:Describe") for action in actions)
        if statement["Resource"] == "*" and not looks:
            wrong.append(f"{name}: any resource")
        acts = {"ec2:TerminateInstances", "ec2:CreateTags", "iam:PassRole"} & set(actions)
        if acts and "Condition" not in statement:
            wrong.append(f"{name}: {sorted(acts)[0]} without a condition")
    return wrong


# `required` of the CustomResourceDefinition rayjobs.ray.io, version v1 (KubeRay 1.5), beneath spec; a pod's
# containers need a name by Kubernetes itself, and an image to run.
REQUIRED = {
    "": ["apiVersion", "kind", "metadata", "spec"],
    "spec.rayClusterSpec": ["headGroupSpec"],
    "spec.rayClusterSpec.headGroupSpec": ["rayStartParams", "template"],
    "spec.rayClusterSpec.workerGroupSpecs": [
        "groupName",
        "maxReplicas",
        "minReplicas",
        "rayStartParams",
        "template",
    ],
}


def kuberay_has_its_fields(job: dict[str, Any]) -> list[str]:
    wrong = []
    for path, names in REQUIRED.items():
        place: Any = job
        for step in path.split(".") if path else []:
            place = place.get(step, {})
        for item in place if isinstance(place, list) else [place]:
            wrong += [f"{path}.{name} is missing" for name in names if name not in item]
    for pod in pods(job):
        wrong += ["a container without name or image" for c in pod if not (c.get("name") and c.get("image"))]
    return wrong


def pods(job: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The containers of the head's pod and of each worker group's."""
    spec = job["spec"]["rayClusterSpec"]
    groups = [spec.get("headGroupSpec", {}), *spec.get("workerGroupSpecs", [])]
    return [group.get("template", {}).get("spec", {}).get("containers", []) for group in groups]


def kuberay_scales(job: dict[str, Any]) -> list[str]:
    """Ray's own reading of the file: autoscaling on, no trial on the head, workers from zero."""
    from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

    spec = job["spec"]["rayClusterSpec"]
    wrong = [] if spec.get("enableInTreeAutoscaling") else ["autoscaling is off"]
    read = _derive_autoscaling_config_from_ray_cr({"metadata": {"name": "a", "namespace": "b"}, "spec": spec})
    types = dict(read["available_node_types"])
    head = types.pop(read["head_node_type"])
    if head["resources"]["CPU"] or head["resources"].get("GPU"):
        wrong.append("trials may run on the head")
    if not types or any(kind["min_workers"] for kind in types.values()):
        wrong.append("workers do not start from zero")
    if not all(kind["resources"].get("GPU") for kind in types.values()):
        wrong.append("workers have no GPU")
    return wrong


def kuberay_is_closed(job: dict[str, Any]) -> list[str]:
    spec = job["spec"]["rayClusterSpec"]
    wrong = [] if spec.get("authOptions") == {"mode": "token"} else ["no token is asked for"]
    if spec["headGroupSpec"].get("serviceType") != "ClusterIP" or "enableIngress" in spec["headGroupSpec"]:
        wrong.append("the head can be reached from outside")
    servers = [container for container in pods(job)[0] if container["name"] == "mlflow"]
    if not servers or "--host=127.0.0.1" not in servers[0]["args"]:
        wrong.append("MLflow does not listen on localhost alone")
    if spec.get("rayVersion") != pinned("ray"):
        wrong.append(f"rayVersion is not {pinned('ray')}")
    return wrong
