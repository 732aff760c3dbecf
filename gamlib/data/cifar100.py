"""CIFAR-100 from the official python files (Krizhevsky: "Learning Multiple Layers of Features from Tiny Images")."""

import hashlib
import pickle
from pathlib import Path

import torch
from jaxtyping import Int64, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gamlib._checks import unknown_name
from gamlib._paths import data_root
from gamlib.data import cifar100_sources
from gamlib.data.cifar100_sources import CONTENT_SHA256, FOLDER, MD5, URL, content_sha256
from gamlib.data.dataset import DataError, Dataset, MissingData

# Of the 50,000 training images, channel by channel; a test recomputes them.
MEAN = (0.5071, 0.4865, 0.4409)
STD = (0.2673, 0.2564, 0.2762)


# The names of the fine labels, in order.
CLASSES = tuple(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm
    """.split()  # noqa: SIM905 (as a list it would be a hundred lines)
)


def load(
    split: str, root: str | Path | None = None, download: bool = False
) -> tuple[UInt8[Tensor, "n 3 32 32"], Int64[Tensor, " n"]]:
    """Images uint8 (N, 3, 32, 32) and fine labels int64 (N,), 0 to 99. N = 50,000 for "train", 10,000 for "test".

    Args:
        split: "train" or "test".
        root: the data root, which holds cifar-100-python/ (see `gamlib.data.data_root`).
        download: whether to download it where it is missing (see `gamlib.data.cifar100_sources`).

    Raises:
        ValueError: for an unknown split.
        DataError: where the file is missing and no source gives it, or its md5 is wrong; then nothing is unpickled.
    """
    if split not in ("train", "test"):
        raise unknown_name("split", split, ["train", "test"])
    folder = data_root(root) / FOLDER
    official, copy = folder / split, folder / f"{split}.safetensors"
    if download and not (official.is_file() or copy.is_file()):
        try:
            cifar100_sources.download(folder.parent)
        except DataError as error:
            raise DataError(f"{error}\n{ways_to_get_it(folder)}") from None
    if official.is_file():
        return _read_official(official)
    if copy.is_file():
        return _read_copy(copy)
    raise MissingData(f"CIFAR-100 is not here: {official} does not exist.\n{ways_to_get_it(folder)}")


def dataset(root: str | Path | None = None, download: bool = False) -> Dataset:
    """Both splits, for training with shifts and flips. Raises DataError as `load` does."""
    train, test = load("train", root, download), load("test", root, download)
    return Dataset("cifar100", *train, *test, 100, MEAN, STD, augment=True, md5=MD5, classes=CLASSES)


def ways_to_get_it(folder: Path) -> str:
    """What a reader can do."""
    return (
        "Ways to get it (161 MB):\n"
        "  1. let gamlib download it: `gamlib train --data cifar100`, or data.load('cifar100', download=True);\n"
        f"  2. download {URL} in a browser and unpack it in {folder.parent}, so that it makes {folder};\n"
        "  3. set GAMLIB_CIFAR100_URL to the address of a mirror of that file (several, with spaces between them);\n"
        "  4. where you have it already, set GAMLIB_DATA to the folder that holds cifar-100-python."
    )


def _read_official(path: Path) -> tuple[Tensor, Tensor]:
    content = path.read_bytes()
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 != MD5[path.name]:
        raise DataError(
            f"{path} is not the official file: its md5 is {md5}, expected {MD5[path.name]}. It was not opened further; "
            f"delete it and get it again from {URL}"
        )
    content = pickle.loads(content, encoding="bytes")  # only ever the official bytes, whose md5 was just checked
    return torch.from_numpy(content[b"data"]).view(-1, 3, 32, 32), torch.tensor(content[b"fine_labels"])


def _read_copy(path: Path) -> tuple[Tensor, Tensor]:
    try:
        content = load_file(path)
        images, labels = content["images"], content["labels"]
    except (SafetensorError, KeyError) as error:
        raise DataError(f"{path} is damaged ({error}); delete it and get it again") from None
    if content_sha256(images, labels) != CONTENT_SHA256[path.stem]:
        raise DataError(f"{path} does not hold the official images and labels; delete it and get it again")
    return images, labels
