"""Random inputs for trials."""

import torch
from torch import Tensor

GENERATOR = torch.Generator()
# Height, width and channels differ, and no two are alike, so that a mixed-up dimension shows.
SHAPES = ((3, 8, 5, 7), (4, 16, 6, 5), (5, 8, 9, 3))


def drawn(*shape: int) -> Tensor:
    """Random numbers, not around zero, so that a mean is no small number."""
    return centred(*shape) + 0.3


def drawn_labels(n: int, classes: int) -> Tensor:
    """Random classes."""
    return torch.randint(classes, (n,), generator=GENERATOR)


def centred(*shape: int) -> Tensor:
    """Random numbers around zero."""
    return torch.randn(shape, generator=GENERATOR)
