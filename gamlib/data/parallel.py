"""The same work on many files, in as many processes as there are cores."""

import functools
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from gamlib._output import progress_bar, write_line
from gamlib.data.dataset import DataError
from gamlib.data.images import Answer, Item, shown, with_warnings
from gamlib.data.workers import default_workers


def map_files(function: Callable[[Item], Answer], items: Sequence[Item]) -> Iterator[tuple[Item, Answer]]:
    """Each item with function(item), in order, with a progress bar. What Pillow warns of is printed, with the item.

    Raises:
        DataError: where one of the processes dies, for want of memory for example.
    """
    with ProcessPoolExecutor(default_workers(), None, _follow, (os.getpid(),)) as pool:
        try:
            answers = pool.map(functools.partial(with_warnings, function), items, chunksize=16)
            bar = progress_bar(answers, sys.stderr, total=len(items), unit="image")
            for item, (answer, warned) in zip(items, bar, strict=True):
                for text in warned:
                    write_line(f"NOTE {shown(item)}: {text}")
                yield item, answer
        except BrokenProcessPool:
            raise DataError(
                "a worker process was killed, for want of memory perhaps; run the same command again"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _follow(parent: int) -> None:
    """What a worker does first: it ends when its parent does, however that ends."""
    # Ctrl-C reaches all processes of a terminal; the one in front stops the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
