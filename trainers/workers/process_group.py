"""The process group in which DeepSpeed finds a trial's workers, set up on Ray Train's behalf.

Ray's own set-up for torch does the same, but brings torch into every process that only waits for workers, the
trial's own and Ray Train's controller: seconds of a core at the start of each and memory of the head.
"""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import Any

# That workers wait for one another, as in Ray's own set-up: some load more, or judge longer, than others.
PATIENCE = timedelta(seconds=1800)


def torch_group() -> Any:
    """A Ray Train backend: NCCL between GPUs, gloo between CPUs."""
    from ray.train.backend import Backend, BackendConfig

    class TorchGroup(Backend):
        # All GPUs of a node are seen by each of its workers, as NCCL wants it to move data between them.
        share_cuda_visible_devices = True

        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            address, port = worker_group.execute_single(0, _free_port)
            worker_group.execute(_join, address, port)

    class TorchGroupConfig(BackendConfig):
        @property
        def backend_cls(self) -> type[Backend]:
            return TorchGroup

    return TorchGroupConfig()


def take_device() -> Any:
    """This worker's device; a GPU becomes the current one of the calling thread."""
    import ray.train.torch
    import torch

    device = ray.train.torch.get_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def _free_port() -> tuple[str, int]:
    import ray

    address = ray.util.get_node_ip_address()
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as held:
        held.bind(("", 0))
        return address, held.getsockname()[1]


def _join(address: str, port: int) -> None:
    """Meet the other workers; the names are torch's own, and DeepSpeed reads them too."""
    import ray.train
    import torch.distributed as dist

    train = ray.train.get_context()
    os.environ.update(
        MASTER_ADDR=address,
        MASTER_PORT=str(port),
        RANK=str(train.get_world_rank()),
        WORLD_SIZE=str(train.get_world_size()),
        LOCAL_RANK=str(train.get_local_rank()),
        LOCAL_WORLD_SIZE=str(train.get_local_world_size()),
    )
    dist.init_process_group("nccl" if take_device().type == "cuda" else "gloo", timeout=PATIENCE)
