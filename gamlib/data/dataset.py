"""What a trainer needs of a data set, and data sets that are held in memory."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from gamlib._checks import check_boolean
from gamlib.data import augment


class DataError(Exception):
    """Data that is missing or damaged; the message says where it was looked for and what to do.

    It can be printed: bytes of a path that are no UTF-8 are replaced.
    """

    def __init__(self, message: str) -> None:
        super().__init__(os.fsencode(message).decode(errors="replace"))


class MissingData(DataError):
    """Data that is not there at all."""


@runtime_checkable
class Data(Protocol):
    """What a trainer needs of a data set; any object that has it can be given to `fit`, `evaluate` and `compare`."""

    @property
    def name(self) -> str:
        """Name for results and folders; `gamlib evaluate` looks it up in DATASETS."""

    @property
    def num_classes(self) -> int:
        """K; labels are 0 to K - 1."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, a label's at its place; () where they have none."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(3, H, W) of what the network sees."""

    @property
    def mean(self) -> tuple[float, float, float]:
        """Mean of each channel in [0, 1], which is subtracted."""

    @property
    def std(self) -> tuple[float, float, float]:
        """Standard deviation of each channel, by which is divided."""

    @property
    def augment(self) -> bool:
        """Whether training images are changed at random."""

    @property
    def md5(self) -> dict[str, str]:
        """What identifies the content, for the record: of each file or split."""

    @property
    def train_count(self) -> int:
        """Number of training images."""

    @property
    def test_count(self) -> int:
        """Number of test images."""

    @property
    def test_batch(self) -> int:
        """Images that a process tests at once."""

    def to(self, device: torch.device) -> "Data":
        """The same, handing out its batches on `device`."""

    def train_batches(self, batches: Sequence[Tensor], seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """For each batch of ids: images uint8 (n, 3, H, W), changed as seed, epoch and id say, and labels int64 (n,).

        What is drawn for an image must not depend on the order of work, or a resumed run would differ.
        """

    def test_batches(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """For each batch of ids: images and labels as they are. A batch may be empty, where processes share a few."""


@dataclass(frozen=True)
class Dataset:
    """Two splits as tensors, which live on the training device as they are, and what a trainer must know about them."""

    name: str
    train_images: Tensor  # uint8 (N, 3, H, W), as all images here
    train_labels: Tensor  # int64 (N,)
    test_images: Tensor
    test_labels: Tensor
    num_classes: int
    mean: tuple[float, float, float]  # of a channel in [0, 1], subtracted
    std: tuple[float, float, float]  # of a channel in [0, 1], divided by
    augment: bool  # whether training shifts (padding 4) and flips the images
    md5: dict[str, str]  # of each file read, or of each split generated
    classes: tuple[str, ...] = ()  # names, a label's at its place
    test_batch: ClassVar[int] = 500  # images a process tests at once

    def __post_init__(self) -> None:
        for split in ("train", "test"):
            images, labels = getattr(self, f"{split}_images"), getattr(self, f"{split}_labels")
            if images.dtype != torch.uint8 or images.ndim != 4 or len(images) == 0:
                raise ValueError(
                    f"{split}_images must be uint8 (N, 3, H, W), N 1 or more; got {images.dtype} {tuple(images.shape)}"
                )
            if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
                raise ValueError(
                    f"{split}_labels must be int64 ({len(images)},), got {labels.dtype} {tuple(labels.shape)}"
                )
            if labels.min() < 0 or labels.max() >= self.num_classes:
                last = self.num_classes - 1
                raise ValueError(f"{split}_labels must lie in 0 to {last}, got {labels.min()} to {labels.max()}")
        check_boolean("augment", self.augment)
        if len(self.classes) not in (0, self.num_classes):
            raise ValueError(f"classes must name all {self.num_classes} classes, got {len(self.classes)} names")

    @property
    def train_count(self) -> int:
        """Number of training images."""
        return len(self.train_images)

    @property
    def test_count(self) -> int:
        """Number of test images."""
        return len(self.test_images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(3, H, W)."""
        return tuple(self.train_images.shape[1:])

    def first(self, count: int) -> "Dataset":
        """The first `count` images of each split, for a quick look; the md5s say so."""
        return dataclasses.replace(
            self,
            train_images=self.train_images[:count],
            train_labels=self.train_labels[:count],
            test_images=self.test_images[:count],
            test_labels=self.test_labels[:count],
            md5={name: f"{md5}, first {count}" for name, md5 in self.md5.items()},
        )

    def to(self, device: torch.device) -> "Dataset":
        """The same with all tensors on `device`."""
        names = ("train_images", "train_labels", "test_images", "test_labels")
        return dataclasses.replace(self, **{name: getattr(self, name).to(device) for name in names})

    def train_batches(self, batches: Sequence[Tensor], seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Images uint8 (n, 3, H, W) and labels int64 (n,) for each batch of ids, shifted and flipped if `augment`."""
        for ids in _on(self.train_images.device, batches):
            images = self.train_images.index_select(0, ids)
            if self.augment:
                images = augment.shift_and_flip(images, ids, seed, epoch)
            yield images, self.train_labels.index_select(0, ids)

    def test_batches(self, batches: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Images and labels for each batch of ids, as they are."""
        for ids in _on(self.test_images.device, batches):
            yield self.test_images.index_select(0, ids), self.test_labels.index_select(0, ids)


def _on(device: torch.device, batches: Sequence[Tensor]) -> Sequence[Tensor]:
    """All ids of an epoch brought to the device in one go."""
    return torch.cat(list(batches)).to(device).split([len(ids) for ids in batches]) if batches else []
