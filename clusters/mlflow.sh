#!/bin/bash
# The tracking server of a cluster's head, unless it runs already. It listens on this machine alone
# and answers to its local names alone; `ray attach cluster.yaml -p 5000` brings it to yours.
set -euo pipefail
port=${1:-5000}
python - "$port" <<'PYTHON' && exit 0
import socket, sys
sys.exit(socket.socket().connect_ex(("127.0.0.1", int(sys.argv[1]))))
PYTHON
MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false setsid nohup mlflow server --host 127.0.0.1 --port "$port" --workers 2 \
    --backend-store-uri "sqlite:///$HOME/mlflow.db" \
    --artifacts-destination "${APPORTION_STORAGE:-$HOME}/mlflow" \
    > ~/mlflow.log 2>&1 < /dev/null &
