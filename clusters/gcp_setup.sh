#!/bin/bash
# gcp_setup.sh PROJECT REGION ADDRESS/32: what gcp.yaml expects in a project, made once with gcloud.
# A bucket, a network that lets in ssh from ADDRESS alone, and the workers' service account. Run it again
# whenever your address has changed. The head runs as the account that Ray makes for itself (docs/security.md).
set -euo pipefail
project=$1 region=$2 from=$3
case $from in
    */0) echo "refused: $from would open ssh to the whole world" >&2; exit 2 ;;
    */*) ;;
    *) echo "refused: $from has no prefix; for one address write $from/32" >&2; exit 2 ;;
esac
bucket=gs://apportion-$project
worker=apportion-worker@$project.iam.gserviceaccount.com
gcloud config set project "$project" --quiet

gcloud storage buckets describe "$bucket" >/dev/null 2>&1 || gcloud storage buckets create "$bucket" \
    --location "$region" --uniform-bucket-level-access --public-access-prevention
gcloud iam service-accounts describe "$worker" >/dev/null 2>&1 ||
    gcloud iam service-accounts create apportion-worker --display-name "apportion: workers"
gcloud storage buckets add-iam-policy-binding "$bucket" --member "serviceAccount:$worker" \
    --role roles/storage.objectUser >/dev/null

gcloud compute networks describe apportion >/dev/null 2>&1 || {
    gcloud compute networks create apportion --subnet-mode custom
    gcloud compute networks subnets create apportion --network apportion --region "$region" --range 10.10.0.0/20
    gcloud compute firewall-rules create apportion-within --network apportion --direction INGRESS \
        --allow all --source-tags apportion --target-tags apportion
}
gcloud compute firewall-rules delete apportion-ssh --quiet 2>/dev/null || true
gcloud compute firewall-rules create apportion-ssh --network apportion --direction INGRESS \
    --allow tcp:22 --source-ranges "$from" --target-tags apportion
echo "ready: bucket $bucket, network apportion (ssh from $from), service account $worker"
