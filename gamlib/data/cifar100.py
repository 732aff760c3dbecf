"""CIFAR-100 from the official python files (Krizhevsky: "Learning Multiple Layers of Features from Tiny Images")."""

import hashlib
import pickle
from pathlib import Path

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from gamlib._paths import data_root
from gamlib.attention._checks import unknown_name
from gamlib.data.dataset import DataError, Dataset

FOLDER = "cifar-100-python"
URL = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
MD5 = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
# Of the 50,000 training images, channel by channel; a test recomputes them.
MEAN = (0.5071, 0.4865, 0.4409)
STD = (0.2673, 0.2564, 0.2762)


def load(split: str, root: str | Path | None = None) -> tuple[UInt8[Tensor, "n 3 32 32"], Int64[Tensor, " n"]]:
    """Images uint8 (N, 3, 32, 32) and fine labels int64 (N,), 0 to 99. N = 50,000 for "train", 10,000 for "test".

    Args:
        split: "train" or "test".
        root: the data root, which holds cifar-100-python/ (see `gamlib.data.data_root`).

    Raises:
        ValueError: for an unknown split.
        DataError: where the file is missing, or its md5 is wrong; then nothing is unpickled.
    """
    if split not in ("train", "test"):
        raise unknown_name("split", split, ["train", "test"])
    content = _read(split, root)
    images = torch.from_numpy(content[b"data"]).view(-1, 3, 32, 32)
    return images, torch.tensor(content[b"fine_labels"])


def class_names(root: str | Path | None = None) -> list[str]:
    """The 100 names of the fine labels, in order. Raises DataError as `load` does."""
    return [name.decode() for name in _read("meta", root)[b"fine_label_names"]]


def dataset(root: str | Path | None = None) -> Dataset:
    """Both splits, for training with shifts and flips. Raises DataError as `load` does."""
    return Dataset("cifar100", *load("train", root), *load("test", root), 100, MEAN, STD, augment=True, md5=MD5)


def _read(name: str, root: str | Path | None) -> dict:
    path = data_root(root) / FOLDER / name
    if not path.is_file():
        root = path.parents[1]
        raise DataError(
            f"CIFAR-100 is not here: {path} does not exist.\n"
            "Ways to get it (161 MB):\n"
            f"  1. download {URL} in a browser and unpack it in {root}, so that it makes {path.parent};\n"
            "  2. let torchvision do that:\n"
            f"     python -c \"from torchvision.datasets import CIFAR100; CIFAR100(r'{root}', download=True)\";\n"
            "  3. where you have it already, set GAMLIB_DATA to the folder that holds cifar-100-python."
        )
    content = path.read_bytes()
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 != MD5[name]:
        raise DataError(
            f"{path} is not the official file: its md5 is {md5}, expected {MD5[name]}. It was not opened further; "
            f"delete it and get it again from {URL}"
        )
    return pickle.loads(content, encoding="bytes")  # only ever the official bytes, whose md5 was just checked
