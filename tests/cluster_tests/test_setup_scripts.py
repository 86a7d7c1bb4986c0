"""What the scripts that prepare an account ask of it, as told by command lines that only take notes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from support.paths import ROOT

# Answers as the real command lines give them; everything else is silence, and success.
AWS = r"""#!/bin/bash
printf '%s\n' "$*" >> "$CALLS"
case "$*" in
    *get-caller-identity*) echo 123456789012 ;;
    *head-bucket*|*get-role*) [ -n "${EXISTS:-}" ] ;;
    *describe-vpcs*) echo vpc-1 ;;
    *describe-security-groups*GroupId*) [ -n "${EXISTS:-}" ] && echo sg-1 || echo None ;;
    *describe-security-groups*IpPermissions*) echo "${OLD:-[]}" ;;
    *create-security-group*) echo sg-1 ;;
esac
"""
GCLOUD = r"""#!/bin/bash
printf '%s\n' "$*" >> "$CALLS"
case "$*" in *describe*) [ -n "${EXISTS:-}" ] ;; esac
"""


def run(folder: Path, tool: str, script: str, *arguments: str, **environment: str) -> tuple[int, list[str]]:
    """The script's status, and what it asked the command line `tool` to do."""
    folder.mkdir(exist_ok=True)
    (folder / tool).write_text(AWS if tool == "aws" else GCLOUD)
    (folder / tool).chmod(0o755)
    calls = folder / "calls"
    calls.write_text("")
    own = {"PATH": f"{folder}:{os.environ['PATH']}", "CALLS": str(calls), **environment}
    done = subprocess.run(
        ["bash", ROOT / "clusters" / script, *arguments], env=own, capture_output=True, text=True, timeout=30
    )
    return done.returncode, calls.read_text().splitlines()


def about(calls: list[str], word: str) -> list[str]:
    return [call for call in calls if word in call]


def test_aws_lets_in_ssh_from_one_address_alone(tmp_path: Path) -> None:
    status, calls = run(tmp_path, "aws", "aws_setup.sh", "us-west-2", "203.0.113.7/32")
    assert status == 0
    (opened,) = about(calls, "authorize-security-group-ingress")
    assert "IpProtocol=tcp,FromPort=22,ToPort=22,IpRanges=[{CidrIp=203.0.113.7/32}]" in opened
    assert "IpProtocol=-1,UserIdGroupPairs=[{GroupId=sg-1}]" in opened and opened.count("IpProtocol") == 2
    assert about(calls, "put-public-access-block") and not about(calls, "revoke")
    assert len(about(calls, "create-instance-profile")) == 2


def test_aws_again_shuts_out_the_old_address(tmp_path: Path) -> None:
    old = '[{"FromPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]'
    status, calls = run(tmp_path, "aws", "aws_setup.sh", "us-west-2", "203.0.113.8/32", EXISTS="yes", OLD=old)
    assert status == 0
    order = [call.split()[1] for call in calls if "security-group-ingress" in call]
    assert order == ["revoke-security-group-ingress", "authorize-security-group-ingress"]
    assert old in about(calls, "revoke")[0]
    assert not [
        call for call in calls if "create-role " in call or "create-security-group" in call or " mb " in call
    ]


def test_aws_gives_the_policies_of_this_account(tmp_path: Path) -> None:
    _, calls = run(tmp_path, "aws", "aws_setup.sh", "eu-central-1", "203.0.113.7/32")
    text = "\n".join(calls)
    for part in ("head", "worker"):
        start = text.index("{", text.index(f"put-role-policy --role-name apportion-{part}"))
        policy, _ = json.JSONDecoder().raw_decode(text[start:])
        assert "@" not in json.dumps(policy)
        assert (
            policy["Statement"][-1]["Resource"]
            == "arn:aws:s3:::apportion-123456789012-eu-central-1/studies/*"
        )


@pytest.mark.parametrize(
    ("tool", "script", "first"),
    [("aws", "aws_setup.sh", ("us-west-2",)), ("gcloud", "gcp_setup.sh", ("my-project", "us-central1"))],
)
@pytest.mark.parametrize("address", ["0.0.0.0/0", "::/0", "203.0.113.7"])
def test_the_whole_world_is_refused(
    tmp_path: Path, tool: str, script: str, first: tuple[str, ...], address: str
) -> None:
    status, calls = run(tmp_path, tool, script, *first, address)
    assert status == 2 and calls == []


@pytest.mark.parametrize("exists", ["", "yes"])
def test_google_cloud_lets_in_ssh_from_one_address_alone(tmp_path: Path, exists: str) -> None:
    status, calls = run(
        tmp_path, "gcloud", "gcp_setup.sh", "my-project", "us-central1", "203.0.113.7/32", EXISTS=exists
    )
    assert status == 0
    rules = about(calls, "firewall-rules create")
    assert [rule for rule in rules if "--source-ranges" in rule] == rules[-1:]
    assert "--allow tcp:22 --source-ranges 203.0.113.7/32" in rules[-1]
    assert all("--source-tags apportion" in rule for rule in rules[:-1]) and len(rules) == (
        1 if exists else 2
    )
    assert about(calls, "firewall-rules delete apportion-ssh")
    assert bool(about(calls, "buckets create")) == (not exists)
