"""Writes files whole or not at all: whoever reads one, or finds it after a crash, sees the old file or the new one."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def whole(path: Path, sync: bool = True) -> Iterator[Path]:
    """A path to write to, which takes the place of `path` when the block has ended; a failed block leaves nothing.

    Args:
        path: the file to be; its folder exists.
        sync: whether the bytes must be on the disk first, so that they outlast a loss of power.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        yield partial
        if sync:
            with open(partial, "rb+") as file:
                os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        if error.filename is None or error.filename2 is not None:  # a full disk's error names none, or the copied one
            error.filename = str(path)
        partial.unlink(missing_ok=True)
        raise
    if sync:
        # The new name must be on the disk, too. Windows and some network file systems can't do that for a folder.
        with contextlib.suppress(OSError):
            descriptor = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def lock(folder: Path) -> IO | None:
    """Hold a folder until the file that is returned is closed, or the process ends, however it does.

    Returns:
        None where there is no such lock: on Windows, some network file systems, in a folder that can only be read.

    Raises:
        BlockingIOError: where another process holds it.
    """
    try:
        import fcntl

        file = open(folder / ".lock", "a+")  # noqa: SIM115 ("a" would wait for a pipe's reader)
    except (ModuleNotFoundError, OSError):
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        if isinstance(error, BlockingIOError):
            raise
        return None
    return file


def file_name(*parts: str) -> str:
    """One name for a file or folder, of parts that may hold anything: nothing in it leads to another folder."""
    name = re.sub(r"[^\w.=+-]", "_", "-".join(parts))
    return "_" + name if name.startswith(".") else name


def write(content: memoryview | bytes, path: Path) -> None:
    """Write `content` as one file."""
    with whole(path) as partial, open(partial, "wb") as file:
        file.write(content)
