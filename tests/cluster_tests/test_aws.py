"""What Ray's launcher makes of `cluster.yaml` in an account, by an emulation of AWS (moto)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
import yaml
from moto import mock_aws
from ray.autoscaler._private.util import prepare_config
from support.paths import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """EC2 in an empty account that nobody pays for."""
    home = tmp_path_factory.mktemp("home")
    (home / ".ssh").mkdir()
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-west-2")
        patch.setenv("HOME", str(home))
        yield boto3.client("ec2")


@pytest.fixture(scope="module")
def group(account: Any) -> str:
    """The security group and the instance profiles as `clusters/aws_setup.sh` makes them."""
    ec2, iam = account, boto3.client("iam")
    for part in ("head", "worker"):
        iam.create_instance_profile(InstanceProfileName=f"apportion-{part}")
    network = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]["VpcId"]
    group = ec2.create_security_group(GroupName="apportion", VpcId=network, Description="-")["GroupId"]
    ssh = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "203.0.113.7/32"}]}
    within = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
    ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[ssh, within])
    return str(group)


def bootstrapped(**provider: Any) -> dict[str, Any]:
    """`cluster.yaml` as the launcher completes it before it starts machines."""
    from ray.autoscaler._private.aws.config import bootstrap_aws
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    cluster = prepare_config(yaml.safe_load((ROOT / "cluster.yaml").read_text()))
    cluster["provider"] |= provider
    completed: dict[str, Any] = bootstrap_aws(AWSNodeProvider.fillout_available_node_types_resources(cluster))
    return completed


def doors(ec2: Any, group: str) -> list[str]:
    """The addresses that a security group lets in."""
    found = ec2.describe_security_groups(GroupIds=[group])["SecurityGroups"][0]["IpPermissions"]
    return [address["CidrIp"] for rule in found for address in rule["IpRanges"]]


@pytest.fixture(scope="module")
def cluster(group: str) -> dict[str, Any]:
    return bootstrapped()


def test_the_prepared_group_is_taken_as_it_stands(account: Any, group: str, cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    assert {tuple(kind["node_config"]["SecurityGroupIds"]) for kind in types.values()} == {(group,)}
    assert doors(account, group) == ["203.0.113.7/32"]


def test_a_group_that_ray_makes_itself_is_open_to_the_world(account: Any) -> None:
    """Why `aws_setup.sh` has to run first. When this fails, Ray has mended it, and the notes can go."""
    types = bootstrapped(security_group={"GroupName": "other"})["available_node_types"]
    assert doors(account, types["head"]["node_config"]["SecurityGroupIds"][0]) == ["0.0.0.0/0"]


def test_a_worker_is_started_as_the_file_says(account: Any, cluster: dict[str, Any]) -> None:
    from ray.autoscaler._private.aws.node_provider import AWSNodeProvider

    spot = cluster["available_node_types"]["gpu-spot"]
    # What AWS says of the machine agrees with what the file declares.
    assert (spot["resources"]["CPU"], spot["resources"]["GPU"]) == (8, 1)
    AWSNodeProvider(cluster["provider"], "apportion").create_node(
        spot["node_config"], {"ray-node-type": "worker"}, 1
    )
    (machine,) = account.describe_instances()["Reservations"][0]["Instances"]
    assert machine["InstanceType"] == "g6e.2xlarge" and machine["InstanceLifecycle"] == "spot"
    assert machine["MetadataOptions"]["HttpTokens"] == "required"
    tags = {tag["Key"]: tag["Value"] for tag in machine["Tags"]}
    assert tags["project"] == tags["ray-cluster-name"] == "apportion"
    launch = json.loads((ROOT / "clusters" / "aws_head_policy.json").read_text())["Statement"][1]
    assert launch["Condition"]["StringEquals"]["aws:RequestTag/ray-cluster-name"] == tags["ray-cluster-name"]
