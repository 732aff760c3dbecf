"""Data sets, known by name: tensors in memory, or photographs in class folders."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gamlib._checks import unknown_name
from gamlib._paths import data_root
from gamlib.data import augment, cifar100, puzzles
from gamlib.data.dataset import Data, DataError, Dataset

__all__ = [
    "DATASETS",
    "Data",
    "DataError",
    "Dataset",
    "augment",
    "cifar100",
    "data_root",
    "list_datasets",
    "load",
    "puzzles",
]


@dataclass(frozen=True)
class Entry:
    """A data set that is known by name."""

    build: Callable[[str | Path | None, bool, bool], Data]  # from what `load` is given after the name
    model: str  # the network that fits it, where a command line names none
    recipe: str  # and the recipe
    is_made: bool = False  # generated: nothing is read or downloaded


def _cifar100(root: str | Path | None, download: bool, test_only: bool) -> Data:
    return cifar100.dataset(root, download)


def _imagenet(size: int, root: str | Path | None, download: bool, test_only: bool) -> Data:
    from gamlib.data import imagenet  # it needs torchvision, which takes a second to import

    return imagenet.dataset(root, test_only, size)


def _puzzle(task: str, root: str | Path | None, download: bool, test_only: bool) -> Data:
    return puzzles.dataset(task)


DATASETS = {
    "cifar100": Entry(_cifar100, "resnet20", "laptop"),
    "imagenet": Entry(partial(_imagenet, 224), "resnet18", "paper-imagenet"),
    "imagenet@112": Entry(partial(_imagenet, 112), "resnet18", "photographs"),
    **{f"puzzles-{task}": Entry(partial(_puzzle, task), "probe", "puzzles", True) for task in puzzles.TASKS},
}


def list_datasets() -> list[str]:
    """Names that `load` knows."""
    return list(DATASETS)


def load(name: str, root: str | Path | None = None, download: bool = False, test_only: bool = False) -> Data:
    """Both splits of a data set, ready for training and testing.

    Args:
        name: "cifar100", "imagenet" (any photographs in class folders, at 224 x 224), "imagenet@112" (the same at
            112 x 112, at a quarter of the cost), "puzzles-channel", "puzzles-spatial" or "puzzles-joint".
        root: the data root, for data sets that are read from disk (see `data_root`); for photographs also the folder
            that holds train/ and val/.
        download: whether CIFAR-100 may be downloaded, where it is missing.
        test_only: whether the test images are enough. Then only they are read where that saves something, which is
            photographs: train/ may be missing.

    Raises:
        ValueError: for an unknown name.
        DataError: where the files are missing or damaged.
    """
    if name not in DATASETS:
        raise unknown_name("data set", name, DATASETS)
    return DATASETS[name].build(root, download, test_only)
