"""Layers that several exercises' answers and mistakes are made of."""

from torch import Tensor
from torch.nn import functional as F


def norm(x: Tensor, gain: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
    """BatchNorm over the batch, as in training."""
    return F.batch_norm(x, None, None, gain, shift, training=True)


def no_norm(x: Tensor, gain: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
    """In norm's place, where a mistake leaves it out."""
    return x
