"""Data sets as tensors in memory, known by name."""

from pathlib import Path

from gamlib._paths import data_root
from gamlib.attention._checks import unknown_name
from gamlib.data import augment, cifar100, puzzles
from gamlib.data.dataset import DataError, Dataset

__all__ = ["DataError", "Dataset", "augment", "cifar100", "data_root", "list_datasets", "load", "puzzles"]


def list_datasets() -> list[str]:
    """Names that `load` knows."""
    return ["cifar100", *(f"puzzles-{task}" for task in puzzles.TASKS)]


def load(name: str, root: str | Path | None = None) -> Dataset:
    """Both splits of a data set, ready for training.

    Args:
        name: "cifar100", "puzzles-channel", "puzzles-spatial" or "puzzles-joint".
        root: the data root, for data sets that are read from disk (see `data_root`).

    Raises:
        ValueError: for an unknown name.
        DataError: where the files are missing or damaged.
    """
    if name not in list_datasets():
        raise unknown_name("data set", name, list_datasets())
    if name == "cifar100":
        return cifar100.dataset(root)
    return puzzles.dataset(name.removeprefix("puzzles-"))
