#!/bin/bash
# aws_setup.sh REGION ADDRESS/32: what cluster.yaml expects in an account, made once with the AWS command line.
# A private bucket, a security group that lets in ssh from ADDRESS alone, and the roles of head and workers.
# Run it again whenever your address has changed: the old one is shut out.
set -euo pipefail
region=$1 from=$2
case $from in
    */0) echo "refused: $from would open ssh to the whole world" >&2; exit 2 ;;
    */*) ;;
    *) echo "refused: $from has no prefix; for one address write $from/32" >&2; exit 2 ;;
esac
here=$(dirname "$0")
export AWS_DEFAULT_REGION=$region AWS_PAGER=
account=$(aws sts get-caller-identity --query Account --output text)
bucket=apportion-$account-$region

if ! aws s3api head-bucket --bucket "$bucket" 2>/dev/null; then
    aws s3 mb "s3://$bucket"
fi
aws s3api put-public-access-block --bucket "$bucket" --public-access-block-configuration \
    BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true
aws s3api put-bucket-tagging --bucket "$bucket" --tagging 'TagSet=[{Key=project,Value=apportion}]'

trust='{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
    "Principal": {"Service": "ec2.amazonaws.com"}}]}'
for part in head worker; do
    name=apportion-$part
    if ! aws iam get-role --role-name "$name" >/dev/null 2>&1; then
        aws iam create-role --role-name "$name" --assume-role-policy-document "$trust" >/dev/null
        aws iam create-instance-profile --instance-profile-name "$name" >/dev/null
        aws iam add-role-to-instance-profile --instance-profile-name "$name" --role-name "$name"
    fi
    policy=$(sed "s/@ACCOUNT@/$account/; s/@REGION@/$region/; s/@BUCKET@/$bucket/" "$here/aws_${part}_policy.json")
    aws iam put-role-policy --role-name "$name" --policy-name apportion --policy-document "$policy"
done
# Spot machines need a role of AWS's own, which an account that has run some already has.
aws iam create-service-linked-role --aws-service-name spot.amazonaws.com >/dev/null 2>&1 || true

network=$(aws ec2 describe-vpcs --filters Name=is-default,Values=true --query 'Vpcs[0].VpcId' --output text)
group=$(aws ec2 describe-security-groups --filters "Name=vpc-id,Values=$network" Name=group-name,Values=apportion \
    --query 'SecurityGroups[0].GroupId' --output text)
if [ "$group" = None ]; then
    group=$(aws ec2 create-security-group --group-name apportion --vpc-id "$network" \
        --description "apportion: ssh from one address, everything within" --query GroupId --output text)
fi
old=$(aws ec2 describe-security-groups --group-ids "$group" --query 'SecurityGroups[0].IpPermissions' --output json)
if [ "$old" != "[]" ]; then
    aws ec2 revoke-security-group-ingress --group-id "$group" --ip-permissions "$old" >/dev/null
fi
aws ec2 authorize-security-group-ingress --group-id "$group" --ip-permissions \
    "IpProtocol=tcp,FromPort=22,ToPort=22,IpRanges=[{CidrIp=$from}]" \
    "IpProtocol=-1,UserIdGroupPairs=[{GroupId=$group}]" >/dev/null
echo "ready: bucket $bucket, security group $group (ssh from $from), roles apportion-head and apportion-worker"
