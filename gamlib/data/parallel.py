"""The same work on many files, in as many processes as there are cores."""

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from gamlib._output import progress_bar, write_line
from gamlib.data.dataset import DataError
from gamlib.data.images import Answer, Item, shown, with_warnings
from gamlib.data.workers import default_workers

AHEAD = 64  # items of each process that are read before they are needed: of an archive, some megabytes


def map_files(
    function: Callable[[Item], Answer], items: Iterable[Item], total: int, unit: str = "image"
) -> Iterator[tuple[Item, Answer]]:
    """Each item with function(item), in order, with a progress bar. What Pillow warns of is printed, with the item.

    Args:
        function: what is to be done.
        items: taken as they are needed, so they may be the content of an archive.
        total: how many there are; where the unit is "B", of how many bytes.
        unit: "image", or "B" for items that have a `size`.

    Raises:
        DataError: where one of the processes dies, for want of memory for example.
    """
    workers = default_workers()
    waiting: deque = deque()
    bar = progress_bar(file=sys.stderr, total=total, unit=unit, unit_scale=unit == "B")

    def oldest() -> tuple[Item, Answer]:
        item, future = waiting.popleft()
        answer, warned = future.result()
        for text in warned:
            write_line(f"NOTE {shown(str(item))}: {text}")
        bar.update(item.size if unit == "B" else 1)
        return item, answer

    with bar, ProcessPoolExecutor(workers, None, _follow) as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(with_warnings, function, item)))
                if len(waiting) >= AHEAD * workers:
                    yield oldest()
            while waiting:
                yield oldest()
        except BrokenProcessPool:
            raise DataError(
                "a worker process was killed, for want of memory perhaps; run the same command again"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _follow() -> None:
    """What a worker does first: it ends when its parent does, however that ends."""
    # Ctrl-C reaches all processes of a terminal; the one in front stops the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
