"""What a puzzle's answer rests on, pixel by pixel: the digit that counts, and the cue that says so."""

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from gamlib.data.puzzles import LAYOUTS, WIDTH, compose


def truth(task: str, split: str, seed: int = 0) -> tuple[Bool[Tensor, "n 32 32"], Bool[Tensor, "n 32 32"]]:
    """Where the digit that counts has its ink, and where the cue has it, in the pictures of `puzzles.make`.

    Raises:
        ValueError: as `puzzles.make` does.
    """
    images, _, counts = compose(task, split, seed)
    layout = LAYOUTS[task]
    ink = images.any(1)  # (N, 32, 32)
    left, right = np.array(layout.columns)[counts].T[..., None, None]  # between them lies that digit's left edge
    rows, columns = np.mgrid[: ink.shape[1], : ink.shape[2]]
    digit = ink & (rows >= layout.rows[0]) & (columns >= left) & (columns < right + WIDTH)
    return torch.from_numpy(digit), torch.from_numpy(ink & (rows < layout.cue_height))
