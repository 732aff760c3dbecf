"""Several processes, one model: what training needs of torch.distributed. With one process, every call does nothing.

`torchrun` starts the processes and tells each its place in environment variables.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def start(device_name: str = "auto") -> None:
    """Join the other processes, where torchrun started this one; a second call does nothing.

    Args:
        device_name: as `Speed` has it.

    Raises:
        ValueError: for variables that torchrun would not have set so.
    """
    variables = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    if dist.is_initialized() or not all(name in os.environ for name in variables):
        return
    told = {name: os.environ[name] for name in variables}
    are_numbers = all(told[name].isdecimal() for name in variables if name != "MASTER_ADDR")
    if not are_numbers or int(told["RANK"]) >= int(told["WORLD_SIZE"]):
        given = " ".join(f"{name}={value}" for name, value in told.items())
        raise ValueError(f"these are no variables of torchrun's: {given}; unset them, or start this with torchrun")
    device = None
    if device_name not in ("auto", "cuda", "cpu"):
        raise ValueError(f"several processes need the device 'cuda' or 'cpu', got {device_name!r}")
    if torch.cuda.is_available() and device_name != "cpu":
        local, there = int(told["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= there:
            raise ValueError(f"process {local} of this machine has no GPU: it has {there}; --nproc-per-node {there}")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    # An hour: while one process downloads a data set, the others wait.
    dist.init_process_group("gloo" if device is None else "nccl", timeout=timedelta(hours=1), device_id=device)


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


def is_main_process() -> bool:
    """Whether this process is the one that writes and prints: rank 0."""
    return rank() == 0


def shard(batch: Tensor) -> Tensor:
    """This process's shard of a batch of ids."""
    return batch[rank() :: world_size()]


def is_started() -> bool:
    """Whether torchrun started this process, and it has joined the others."""
    return dist.is_initialized()


def averaging(model: nn.Module, now: bool) -> AbstractContextManager:
    """A backward pass in it averages gradients over the processes, or, where not `now`, leaves that to a later one."""
    return nullcontext() if now or not dist.is_initialized() else model.no_sync()


def wrap(model: nn.Module) -> nn.Module:
    """The model, with gradients that are averaged over the processes."""
    if not dist.is_initialized():
        return model
    return DistributedDataParallel(model, gradient_as_bucket_view=True)  # no second copy of the gradients


def all_reduce_sum(values: Tensor) -> Tensor:
    """The sum of `values` over all processes, in place."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def same(value: int, device: torch.device) -> bool:
    """Whether all processes have the same number."""
    both = torch.tensor([value, -value], device=device)
    if dist.is_initialized():
        dist.all_reduce(both, dist.ReduceOp.MAX)
    return bool(both[0] == -both[1])


def broadcast_buffers(model: nn.Module) -> None:
    """Give every process the first one's BatchNorm statistics."""
    if dist.is_initialized():
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)


def barrier() -> None:
    """Return when all processes have come here."""
    if dist.is_initialized():
        dist.barrier()


@contextmanager
def local_main_process_first() -> Iterator[None]:
    """The machine's first process does the block alone; the others do it when it has finished."""
    others = dist.is_initialized() and os.environ.get("LOCAL_RANK", "0") != "0"
    if others:
        dist.barrier()
    try:
        yield
    finally:
        if not others:
            barrier()
