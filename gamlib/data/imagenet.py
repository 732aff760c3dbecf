"""ImageNet, or any photographs in class folders: ROOT/train/CLASS/*.jpg and ROOT/val/CLASS/*.jpg.

As with torchvision's ImageFolder, images may lie in subfolders of a class folder, and links are followed.

Images are decoded by worker processes, ahead of the training step; those of the next steps wait in a queue.
"""

import dataclasses
import functools
import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from gamlib._checks import unknown_name
from gamlib._output import write_line
from gamlib._paths import data_root
from gamlib.data.augment import random_bits
from gamlib.data.dataset import DataError
from gamlib.data.images import SUFFIXES, BadImage, read_rgb, shown, with_warnings
from gamlib.data.layouts import check_unpacked
from gamlib.data.listing import contents, list_images, seen
from gamlib.data.workers import MOST, PREFETCH, check_shared_memory, default_workers, ignore_signals, watched

SIZE, RESIZED = 224, 256  # side of what the network sees, short side of what a test image is cut from, as published
BAD_IMAGES = ("stop", "skip")
_write_once = functools.cache(write_line)  # by the process that trains: workers start anew in every epoch


@dataclass(frozen=True)
class ImageFolders:
    """Two splits as lists of files, and what a trainer must know about them."""

    name: str
    root: Path
    classes: tuple[str, ...]  # in alphabetical order; a label is a place in it
    train_files: tuple[tuple[str, int], ...]  # path below root, label
    test_files: tuple[tuple[str, int], ...]
    md5: dict[str, str]  # of each split's list of paths and sizes
    bad_images: str = "stop"  # what a broken file does: "stop" training, or "skip" (left out, named, and counted)
    workers: int | None = None  # processes that decode images, for each process that trains; None: its share of cores
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))  # where batches are brought to
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # of ImageNet's training images, as torchvision has it
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    augment: bool = True
    size: int = SIZE  # side of what the network sees
    test_batch: ClassVar[int] = 100  # images a process tests at once

    def __post_init__(self) -> None:
        if self.bad_images not in BAD_IMAGES:
            raise unknown_name("bad_images", self.bad_images, BAD_IMAGES)
        if self.workers is not None and (type(self.workers) is not int or not 0 <= self.workers <= MOST):
            raise ValueError(f"workers must be an integer of 0 to {MOST}, or None for one a core; got {self.workers!r}")

    @property
    def num_classes(self) -> int:
        """Number of class folders."""
        return len(self.classes)

    @property
    def train_count(self) -> int:
        """Number of training images."""
        return len(self.train_files)

    @property
    def test_count(self) -> int:
        """Number of test images: those of val/."""
        return len(self.test_files)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(3, size, size)."""
        return (3, self.size, self.size)

    def to(self, device: torch.device) -> "ImageFolders":
        """The same, handing out its batches on `device`."""
        return dataclasses.replace(self, device=device)

    def train_batches(self, batches: Sequence[Tensor], seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images uint8 (n, 3, size, size) and labels int64 (n,) for each batch of ids, cropped and flipped at random.

        What is drawn for an image depends on seed, epoch and its id, not on which worker draws it.
        """
        seeds = random_bits(torch.arange(self.train_count), seed, epoch)
        return self._load(_Files(self.root, self.train_files, train_transform(self.size), seeds), batches)

    def test_batches(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Images uint8 (n, 3, size, size), cut from the middle, and labels int64 (n,) for each batch of ids."""
        return self._load(_Files(self.root, self.test_files, test_transform(self.size), None), batches)

    def _load(self, files: "_Files", batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        workers = default_workers() if self.workers is None else self.workers
        check_shared_memory(workers, 3 * self.size**2 * max(map(len, batches), default=0))
        loader = DataLoader(
            files,
            batch_sampler=[ids.tolist() for ids in batches],
            num_workers=workers,
            collate_fn=functools.partial(_collate, self.size),
            pin_memory=self.device.type == "cuda",
            prefetch_factor=PREFETCH if workers else None,
            worker_init_fn=ignore_signals,
            # Forked, a worker is there at once; elsewhere, and by Python 3.14's own choice, it imports PyTorch first.
            multiprocessing_context="fork" if workers and sys.platform == "linux" else None,
        )
        for images, labels, bad, warned in watched(loader):
            for message in warned:
                _write_once(message)
            for message in bad:
                if self.bad_images == "stop":
                    raise DataError(
                        f"{message}. `gamlib doctor --data imagenet {self.root}` lists all such files; "
                        "with --bad-images skip, training leaves them out and counts them"
                    )
                _write_anywhere(f"left out: {message}")
            if bad and files.seeds is not None and len(labels) < 2:
                raise DataError(
                    f"a batch has {len(labels)} images left, too few for BatchNorm; its others are broken. "
                    f"`gamlib doctor --data imagenet {self.root}` lists all broken files"
                )
            yield images.to(self.device, non_blocking=True), labels.to(self.device, non_blocking=True)


def _write_anywhere(line: str) -> None:
    """Of torchrun's processes, all but the first have no standard output, and their photographs are broken, too."""
    write_line(line, sys.stdout if os.environ.get("RANK", "0") == "0" else sys.stderr)


def dataset(root: str | Path | None = None, test_only: bool = False, size: int = SIZE) -> ImageFolders:
    """The class folders below `root`, or below imagenet/ in the data root.

    Args:
        root: the folder that holds train/ and val/, or a data root.
        test_only: whether val/ is enough; then train/ is not looked at, and `train_files` is ().
        size: side of what the network sees; where it is not the usual one, the name says it: photos-NAME@112.

    Raises:
        DataError: where folders or images are missing, val/ has other classes than train/, or a folder's name is not
            UTF-8, so that it can't stand in results.
    """
    splits = ("val",) if test_only else ("train", "val")
    given, root = root, data_root(root)
    # A folder that is there, and is no data root, was meant to hold train/ and val/ itself.
    if not any((root / split).is_dir() for split in splits):
        root = root if given is not None and root.is_dir() and not (root / "imagenet").is_dir() else root / "imagenet"
    for split in splits:
        if not (root / split).is_dir():
            check_unpacked(root)
            there = next(folder for folder in (root, *root.parents) if folder.is_dir())
            raise DataError(
                f"ImageNet is not here: {root / split} does not exist. Expected are class folders, {root}/train/CLASS/"
                f"*.jpg and {root}/val/CLASS/*.jpg; {there} holds {seen(there)}. Give the folder above train/ and val/ "
                "with --root, or rename what is there. ImageNet itself is to be had at https://image-net.org"
            )
    found = [contents(root / split)[0] for split in splits]
    classes = sorted(set(found[0]).intersection(*found))
    if not classes or any(names != classes for names in found):
        check_unpacked(root)
        others = ", ".join(f"{split}/ holds {seen(root / split, besides=classes)}" for split in splits)
        raise DataError(
            f"{root}: train/ and val/ must hold the same class folders; besides these, {others}. Unpack archives, sort "
            "loose images into their classes' folders by the list that came with them, take other folders away"
        )
    for name in (root.resolve().name, *classes):
        if shown(name) != name or "@" in name:
            raise DataError(
                f"{root}: the folder name {name} is not UTF-8 or has an @, which can't stand in results; rename it"
            )
    files, md5 = {"train": ()}, {}
    for split in splits:
        files[split], md5[split] = _list_files(root, split, classes)
    name = f"photos-{root.resolve().name}" + (f"@{size}" if size != SIZE else "")
    return ImageFolders(name, root, tuple(classes), files["train"], files["val"], md5, size=size)


def train_transform(size: int) -> v2.Transform:
    """A random part of the image at size x size, flipped half of the time; then uint8 (3, size, size)."""
    return v2.Compose([v2.RandomResizedCrop(size), v2.RandomHorizontalFlip(), v2.PILToTensor()])


def test_transform(size: int) -> v2.Transform:
    """Short side to 256 where size is 224, in proportion else, the middle; then uint8 (3, size, size)."""
    return v2.Compose([v2.Resize(round(size * RESIZED / SIZE)), v2.CenterCrop(size), v2.PILToTensor()])


def _list_files(root: Path, split: str, classes: Sequence[str]) -> tuple[tuple[tuple[str, int], ...], str]:
    files, md5 = [], hashlib.md5(usedforsecurity=False)
    for label, folder in enumerate(f"{split}/{name}" for name in classes):
        images = list_images(root, folder)
        if not images:
            held = f"it has {seen(root / folder)}"
            raise DataError(f"{root / folder} holds no image (a name that ends in {', '.join(SUFFIXES)}); {held}")
        for path, size in images:
            files.append((path, label))
            md5.update(os.fsencode(f"{path} {size}\n"))
    return tuple(files), md5.hexdigest()


@dataclass(frozen=True)
class _Files:
    """What a worker process holds: id -> ([image], label, [], warnings), or ([], label, [what is wrong], [])."""

    root: Path
    files: tuple[tuple[str, int], ...]
    transform: v2.Transform
    seeds: Tensor | None  # for random transforms, of each image its own

    def __getitem__(self, i: int) -> tuple[list[Tensor], int, list[str], list[str]]:
        path, label = self.files[i]
        name = shown(self.root / path)
        try:
            image, warned = with_warnings(read_rgb, self.root / path)
        except BadImage as error:
            return [], label, [f"{name}: {error}"], []
        if self.seeds is not None:
            torch.manual_seed(int(self.seeds[i]))
        return [self.transform(image)], label, [], [f"{name}: {text}" for text in warned]


def _collate(
    size: int, samples: Sequence[tuple[list[Tensor], int, list[str], list[str]]]
) -> tuple[Tensor, Tensor, list, list]:
    good = [(image, label) for images, label, *_ in samples for image in images]
    images = torch.stack([image for image, _ in good]) if good else torch.empty(0, 3, size, size, dtype=torch.uint8)
    labels = torch.tensor([label for _, label in good], dtype=torch.int64)
    return images, labels, [text for sample in samples for text in sample[2]], [t for s in samples for t in s[3]]
