"""What every data set hands to the trainer."""

from dataclasses import dataclass

import torch
from torch import Tensor


class DataError(Exception):
    """Data that is missing or damaged; the message says where it was looked for and what to do."""


@dataclass(frozen=True)
class Dataset:
    """Two splits as tensors, and what a trainer must know about them."""

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
