"""The same work on many files, in as many processes as there are cores."""

import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from tqdm import tqdm

from gamlib.data.dataset import DataError
from gamlib.data.imagenet import default_workers

Item, Answer = TypeVar("Item"), TypeVar("Answer")


def map_files(function: Callable[[Item], Answer], items: Sequence[Item]) -> Iterator[tuple[Item, Answer]]:
    """Each item with function(item), in order, with a progress bar.

    Raises:
        DataError: where one of the processes dies, for want of memory for example.
    """
    # Ctrl-C reaches all processes of a terminal; the one in front stops the others.
    with ProcessPoolExecutor(default_workers(), None, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
        try:
            answers = pool.map(function, items, chunksize=16)
            yield from zip(items, tqdm(answers, total=len(items), unit="image", ncols=100), strict=True)
        except BrokenProcessPool:
            raise DataError(
                "a worker process was killed, for want of memory perhaps; run the same command again"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)
