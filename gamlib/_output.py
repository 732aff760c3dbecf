"""What is printed: an output that fails (a closed pipe or terminal, a full disk) never ends what is being done."""

import errno
import os
import sys
from collections.abc import Iterable
from typing import TextIO

from tqdm import tqdm

# Where a terminal's encoding has no such character.
PLAIN = {"±": "+-", "×": "x", "−": "-", "–": "-", "·": ".", "≤": "<=", "≥": ">="}


class Output:
    """A text stream whose errors are kept to itself: what can't be written is lost, and no more."""

    def __init__(self, stream: TextIO | None) -> None:
        # None: it was closed before Python began.
        self._stream = stream or open(os.devnull, "w")  # noqa: SIM115 (as long as the process)
        self.lost = ""  # why something was, where its reader would like to know

    def write(self, text: str) -> int:
        """Write what can be written."""
        try:
            return self._stream.write(text)
        except UnicodeEncodeError:
            has = {c: c.encode(self._stream.encoding, "ignore") for c in set(text)}
            return self.write("".join(c if has[c] else PLAIN.get(c, "?") for c in text))
        except (OSError, ValueError) as error:  # ValueError: it is closed
            self._note(error)
            return len(text)

    def flush(self) -> None:
        """Write what waits, where that can be."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._note(error)
            # Python flushes once more at its end, and would fail there: what waits goes nowhere, from now on.
            if self._stream in (sys.__stdout__, sys.__stderr__):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def _note(self, error: Exception) -> None:
        if getattr(error, "errno", None) == errno.ENOSPC:
            self.lost = error.strerror

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)

    def __eq__(self, other: object) -> bool:
        """Whether both write to one stream: so tqdm knows which bar a line would run into."""
        return self._stream == getattr(other, "_stream", other)

    __hash__ = object.__hash__


def progress_bar(items: Iterable | None = None, file: TextIO | None = None, **options: object) -> tqdm:
    """A bar, over `items` or to be moved by hand; it fits the terminal, and is rare in a file.

    It goes to standard output where no other file is given, since in a notebook standard error is red.
    """
    stream = Output(sys.stdout if file is None else file)
    is_terminal = bool(getattr(stream, "isatty", bool)())
    is_seen = is_terminal or type(sys.stdout).__module__.startswith("ipykernel")
    shape = {"dynamic_ncols": True} if is_terminal else {"ncols": 100}
    return tqdm(items, file=stream, mininterval=0.5 if is_seen else 30.0, **shape, **options)


def write_line(text: str, file: TextIO | None = None) -> None:
    """A line of its own, above the bar where there is one; on standard output where no other file is given."""
    tqdm.write(text, file=Output(sys.stdout if file is None else file))
