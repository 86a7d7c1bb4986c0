# Sourced by the login shell of every node, before Ray starts and before a study runs (install it once:
# `grep -q clusters/node.sh ~/.bashrc || echo '. ~/apportion/clusters/node.sh' >> ~/.bashrc`).
export PATH="$HOME/apportion-env/bin:$PATH"
# The head would switch this on by itself for the token that it finds; workers would not, and could not join.
export RAY_AUTH_MODE=token
export RAY_TRAIN_ENABLE_PREEMPTION_WATCHER=1 # a trial whose spot machine is taken starts again elsewhere
export RAY_worker_maximum_startup_concurrency=8 # on a head that declares no CPU Ray would start one process at a time
export MLFLOW_TRACKING_URI=http://127.0.0.1:5000 # read by the study alone, which runs on the head
export APPORTION_AUTOSCALING="$HOME/ray_bootstrap_config.yaml" # how far this cluster may grow
[ -r ~/.apportion_head ] && . ~/.apportion_head # APPORTION_STORAGE, APPORTION_VIEW
true
