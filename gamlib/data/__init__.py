"""Data sets, known by name: tensors in memory, or photographs in class folders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gamlib._paths import data_root
from gamlib.attention._checks import unknown_name
from gamlib.data import augment, cifar100, puzzles
from gamlib.data.dataset import DataError, Dataset

if TYPE_CHECKING:  # it needs torchvision; `gamlib doctor` must run where that is missing
    from gamlib.data.imagenet import ImageFolders

__all__ = ["DataError", "Dataset", "augment", "cifar100", "data_root", "list_datasets", "load", "puzzles"]


def list_datasets() -> list[str]:
    """Names that `load` knows."""
    return ["cifar100", "imagenet", *(f"puzzles-{task}" for task in puzzles.TASKS)]


def load(name: str, root: str | Path | None = None, download: bool = False) -> Dataset | ImageFolders:
    """Both splits of a data set, ready for training.

    Args:
        name: "cifar100", "imagenet" (any photographs in class folders), "puzzles-channel", "puzzles-spatial" or
            "puzzles-joint".
        root: the data root, for data sets that are read from disk (see `data_root`); for "imagenet" also the folder
            that holds train/ and val/.
        download: whether CIFAR-100 may be downloaded, where it is missing.

    Raises:
        ValueError: for an unknown name.
        DataError: where the files are missing or damaged.
    """
    if name not in list_datasets():
        raise unknown_name("data set", name, list_datasets())
    if name == "cifar100":
        return cifar100.dataset(root, download)
    if name == "imagenet":
        from gamlib.data import imagenet

        return imagenet.dataset(root)
    return puzzles.dataset(name.removeprefix("puzzles-"))
