"""Processes that decode images: how many there are, the memory that they need, and how they end."""

import atexit
import functools
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

from torch.utils.data import DataLoader

from gamlib.data.dataset import DataError

MOST = 256
PREFETCH = 2  # batches of each worker that wait for the training step
SHARED_MEMORY = "/dev/shm"  # here a worker hands over its batches, on Linux


def default_workers() -> int:
    """This process's share of the cores, 16 at most."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(16, cores // local_processes()))


def local_processes() -> int:
    """Processes that train together on this machine, as torchrun says; 1 where it says nothing that makes sense."""
    told = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, int(told)) if told.isdecimal() else 1


def shared_memory() -> int | None:
    """Bytes that are free where workers hand over their batches; None on systems that don't do it so."""
    return shutil.disk_usage(SHARED_MEMORY).free if os.path.isdir(SHARED_MEMORY) else None


def check_shared_memory(workers: int, batch: int) -> None:
    """Raise DataError where batches of `batch` bytes don't fit: workers would be killed, or wait for ever."""
    free, wanted = shared_memory(), PREFETCH * workers * batch * local_processes()
    if free is not None and wanted > free:
        raise DataError(
            f"{workers} workers need {wanted / 1e6:,.0f} MB of {SHARED_MEMORY}, and {free / 1e6:,.0f} MB are free. Use "
            f"fewer --workers (0 needs none) or smaller batches, or `docker run --shm-size={wanted // 10**9 + 1}g`"
        )


def ignore_signals(worker: int) -> None:
    """What a worker does first. Its parent can't end it with SIGTERM any more: see `watched`."""
    # Ctrl-C reaches all processes of a terminal, and SIGTERM all of a job. The one that trains still needs its
    # workers, to finish the step.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def watched(loader: DataLoader) -> Iterator[Any]:
    """What the loader gives; its workers end with it. Raises DataError where one is killed, or can't hand over a batch.

    Where a traceback keeps the loader alive, its workers would be waited for at the end of the program, without end.
    """
    before = signal.getsignal(signal.SIGCHLD) if hasattr(signal, "SIGCHLD") else None  # Windows has none
    end = None
    try:
        batches = iter(loader)
        if loader.num_workers:
            end = atexit.register(functools.partial(_kill, batches._workers))
        if before is not None and threading.current_thread() is threading.main_thread():
            # PyTorch's handler raises wherever the training step happens to be; the loader finds a dead worker, too.
            signal.signal(signal.SIGCHLD, before)
        yield from batches
    except RuntimeError as error:
        if "DataLoader worker (pid" not in str(error) and "file </torch" not in str(error):
            raise
        raise DataError(
            f"a process that decodes images was killed, for want of memory perhaps ({str(error).splitlines()[-1]}). "
            f"Use fewer --workers than {loader.num_workers}; run again, training goes on from its last checkpoint"
        ) from None
    finally:
        batches = None  # where nothing else holds it, it lets its workers come to an end
        if end is not None:
            end()
            atexit.unregister(end)


def _kill(workers: Sequence[BaseProcess]) -> None:
    for worker in workers:
        worker.kill()
