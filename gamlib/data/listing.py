"""What lies in folders: one list of images for training, for the doctor and for `gamlib resize`.

Names that begin with a dot are passed over. They are a system's or a program's own: .ipynb_checkpoints, .DS_Store,
macOS's ._photo.jpg.
"""

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from gamlib.data.images import SUFFIXES


def list_images(root: Path, below: str) -> list[tuple[str, int]]:
    """The images below a folder, in its subfolders too, by the ends of their names: each path, and its size in bytes.

    A link that leads nowhere counts, as 0 bytes: it stands for a picture that is lost, and has to be named.

    Args:
        root: a folder.
        below: the folder to look into; it and the paths returned are written below `root`, with `/`.

    Raises:
        OSError: for a folder that can't be read.
    """
    found = walk(root, below)
    return [(path, size) for path, size in found if size is not None and path.lower().endswith(SUFFIXES)]


def walk(root: Path, below: str) -> Iterator[tuple[str, int | None]]:
    """All that lies below a folder: its path below `root`, and its size; None for a named pipe and the like.

    Links are followed, but not to a folder that they lie in.
    """
    folders, files = contents(root / below)
    for name in files:
        file = os.path.join(root, below, name)
        size = os.path.getsize(file) if os.path.isfile(file) else None if os.path.exists(file) else 0
        yield f"{below}/{name}", size
    for name in folders:
        if not leads_back(root / below / name):
            yield from walk(root, f"{below}/{name}")


def leads_back(folder: Path) -> bool:
    """Whether a link leads to one of the folders that it is reached through, or above them."""
    back = {above for passed in folder.parents for above in (passed.resolve(), *passed.resolve().parents)}
    return folder.is_symlink() and folder.resolve() in back


def contents(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the folders and of the files in a folder, sorted. Raises OSError where it can't be read."""
    names = sorted(name for name in os.listdir(folder) if not name.startswith("."))
    folders = {name for name in names if os.path.isdir(os.path.join(folder, name))}
    return sorted(folders), [name for name in names if name not in folders]


def seen(folder: Path, besides: Collection[str] = ()) -> str:
    """What a folder holds, in a few words: "1 folder (images) and 50,000 files (a.jpg, b.jpg, c.jpg, ...)"."""
    folders, files = contents(folder)
    return f"{few([name for name in folders if name not in besides], 'folder')} and {few(files, 'file')}"


def few(names: Sequence[str], what: str) -> str:
    """How many there are, and the first of them."""
    first = ", ".join(names[:3]) + ", ..." * (len(names) > 3)
    return f"{len(names):,} {what}{'s' * (len(names) != 1)}" + f" ({first})" * bool(names)
