"""What every data set hands to the trainer."""

from dataclasses import dataclass

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
