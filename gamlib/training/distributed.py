"""Several processes, one model: what training needs of torch.distributed. With one process, every call does nothing.

`torchrun` starts the processes and tells each its place in environment variables.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def start() -> None:
    """Join the other processes, where torchrun started this one; a second call does nothing."""
    told = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    if dist.is_initialized() or not all(name in os.environ for name in told):
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # An hour: while one process downloads a data set, the others wait.
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=timedelta(hours=1))


def leave() -> None:
    """Part from the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return rank() == 0


def share(batch: Tensor) -> Tensor:
    """This process's part of a batch of ids."""
    return batch[rank() :: world_size()]


def wrap(model: nn.Module) -> nn.Module:
    """The model, with gradients that are averaged over the processes."""
    return DistributedDataParallel(model) if dist.is_initialized() else model


def add_up(values: Tensor) -> Tensor:
    """The sum of `values` over all processes."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def share_buffers(model: nn.Module) -> None:
    """Give every process the first one's BatchNorm statistics."""
    if dist.is_initialized():
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def wait_for_all() -> None:
    """Return when all processes have come here."""
    if dist.is_initialized():
        dist.barrier()


@contextmanager
def first_on_this_machine() -> Iterator[None]:
    """The machine's first process does the block alone; the others do it when it has finished."""
    others = dist.is_initialized() and os.environ.get("LOCAL_RANK", "0") != "0"
    if others:
        dist.barrier()
    try:
        yield
    finally:
        if not others:
            wait_for_all()
