"""Three puzzles that a small network solves only with the right attention: digits, and a cue that says which counts.

    channel  a stripe at the top has the colour, red or blue, of the digit that counts
    spatial  three white digits; a tick at the top edge stands above the one that counts
    joint    a red and a blue digit in each half; a patch at the top has the colour, and stands in the half, that counts

The cue stands beyond the receptive field (19 x 19 pixels) of every feature of the network `probe` that is centred on a
digit. In `channel` and `spatial`, 19 rows lie between them, so no feature sees both, and without attention a network
can only guess. In `joint` it is 14, since the window of GAM has to reach the cue: a feature half-way sees the cue and
the upper rows of a digit, up to five of seven. Recorded runs show that the plain network makes nothing of it.

Made from a seed in a second or two; nothing is downloaded.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from gamlib._checks import check_seed, unknown_name
from gamlib.data.dataset import Dataset

SIZE = 32  # pixels, both ways
COUNT = {"train": 8000, "test": 2000}
TASKS = ("channel", "spatial", "joint")
RED, BLUE, WHITE = (255, 40, 40), (40, 80, 255), (255, 255, 255)

# Digits of 7 rows of 5 pixels, each row as a number of 5 bits.
_ROWS = [
    (14, 17, 19, 21, 25, 17, 14),
    (4, 12, 4, 4, 4, 4, 14),
    (14, 17, 1, 2, 4, 8, 31),
    (31, 2, 4, 2, 1, 17, 14),
    (2, 6, 10, 18, 31, 2, 2),
    (31, 16, 30, 1, 1, 17, 14),
    (6, 8, 16, 30, 17, 17, 14),
    (31, 1, 2, 4, 8, 8, 8),
    (14, 17, 17, 14, 17, 17, 14),
    (14, 17, 17, 15, 1, 2, 12),
]
GLYPHS = np.array([[[row >> bit & 1 for bit in (4, 3, 2, 1, 0)] for row in rows] for rows in _ROWS], dtype=bool)
HEIGHT, WIDTH = GLYPHS.shape[1:]  # 7, 5


@dataclass(frozen=True)
class Layout:
    """Where things stand in a task, in pixels from the top left corner."""

    columns: tuple[tuple[int, int], ...]  # for each digit: the smallest and largest left edge
    rows: tuple[int, int]  # smallest and largest top edge of a digit
    cue_height: int  # the cue fills rows 0 to cue_height - 1

    @property
    def distance(self) -> int:
        """Least number of rows from a pixel of the cue to a pixel of a digit."""
        return self.rows[0] - (self.cue_height - 1)


LAYOUTS = {
    "channel": Layout(columns=((2, 9), (17, 25)), rows=(20, 24), cue_height=2),
    "spatial": Layout(columns=((1, 4), (12, 15), (23, 26)), rows=(20, 24), cue_height=2),
    "joint": Layout(columns=((1, 2), (9, 10), (17, 18), (25, 26)), rows=(16, 19), cue_height=3),
}


def make(task: str, split: str, seed: int = 0) -> tuple[UInt8[Tensor, "n 3 32 32"], Int64[Tensor, " n"]]:
    """Images uint8 (N, 3, 32, 32) and labels int64 (N,), the digit that counts.

    N is 8,000 for "train" and 2,000 for "test".

    Raises:
        ValueError: for an unknown task or split, or a seed that is not an integer of 0 or more.
    """
    images, digits, counts = compose(task, split, seed)
    return torch.from_numpy(images), torch.from_numpy(digits[np.arange(len(digits)), counts])


def compose(task: str, split: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `make`, with what lies behind the label.

    Returns:
        images uint8 (N, 3, 32, 32); digits int64 (N, k), all digits of an image; counts int64 (N,), which one counts.
    """
    if task not in TASKS:
        raise unknown_name("task", task, TASKS)
    if split not in COUNT:
        raise unknown_name("split", split, COUNT)
    check_seed(seed)
    rng = np.random.default_rng([seed, TASKS.index(task), list(COUNT).index(split)])
    layout, n = LAYOUTS[task], COUNT[split]
    k = len(layout.columns)
    images = np.zeros((n, 3, SIZE, SIZE), dtype=np.uint8)
    digits = rng.integers(10, size=(n, k))
    counts = rng.integers(k, size=n)
    if task == "spatial":
        colours = np.full((n, k, 3), WHITE, dtype=np.uint8)
    else:  # each pair of neighbours holds one red and one blue digit
        first_red = rng.integers(2, size=(n, k // 2)).astype(bool)
        red = np.stack([first_red, ~first_red], axis=2).reshape(n, k)
        colours = np.where(red[..., None], RED, BLUE).astype(np.uint8)
    for i, (left, right) in enumerate(layout.columns):
        x = rng.integers(left, right + 1, size=n)
        y = rng.integers(layout.rows[0], layout.rows[1] + 1, size=n)
        _paint(images, GLYPHS[digits[:, i]], x, y, colours[:, i])
    each = np.arange(n)
    cue_left, cue_width = {
        "channel": (np.zeros(n, dtype=int), SIZE),
        "spatial": (np.array([(a + b) // 2 + 1 for a, b in layout.columns])[counts], 3),
        "joint": (np.where(counts < 2, 6, 22), 4),
    }[task]
    cue = np.ones((n, layout.cue_height, cue_width), dtype=bool)
    _paint(images, cue, cue_left, np.zeros(n, dtype=int), colours[each, counts])
    return images, digits, counts


def ceiling(task: str) -> float:
    """The best accuracy (0 to 1) that is possible without the cue: naming a digit that stands there most often.

    Exact: the mean, over all 10^k pictures of k digits, of the most frequent digit's share.
    """
    k = len(LAYOUTS[task].columns)
    pictures = np.stack(np.meshgrid(*[np.arange(10)] * k), axis=-1).reshape(-1, k)
    most = (pictures[:, :, None] == np.arange(10)).sum(axis=1).max(axis=1)
    return float(most.mean() / k)


def dataset(task: str, seed: int = 0) -> Dataset:
    """Both splits, for training as they are: a shift or a flip could part a cue from its digit."""
    train, test = make(task, "train", seed), make(task, "test", seed)
    md5 = {
        split: hashlib.md5(images.numpy().tobytes() + labels.numpy().tobytes(), usedforsecurity=False).hexdigest()
        for split, (images, labels) in {"train": train, "test": test}.items()
    }
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    digits = tuple("0123456789")
    return Dataset(f"puzzles-{task}", *train, *test, 10, mean, std, augment=False, md5=md5, classes=digits)


def _paint(images: np.ndarray, shapes: np.ndarray, x: np.ndarray, y: np.ndarray, colours: np.ndarray) -> None:
    """Paint one shape (N, height, width) of one colour (N, 3) into each image, its top left corner at (x, y)."""
    _, height, width = shapes.shape
    n = np.arange(len(images))[:, None, None]
    rows = y[:, None, None] + np.arange(height)[:, None]
    cols = x[:, None, None] + np.arange(width)
    for channel in range(3):
        images[n, channel, rows, cols] |= shapes * colours[:, channel, None, None]
