"""Triplet attention, TAM (Misra, Nalamada, Arasanipalai, Hou: "Rotate to Attend", WACV 2021)."""

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from gamlib._checks import check_integer
from gamlib.attention._checks import check_input, check_kernel_size, init_convs

fx.wrap("check_input")


class PlaneGate(nn.Module):
    """sigmoid(conv7x7([max; mean] over the second dimension)): one number for each cell of the other two.

    Z-pool is the paper's name for the [max; mean] (Section 3.2). Which plane the gate looks at is decided by
    which dimension its caller rotates to the second place.
    """

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(1, momentum=0.01)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Float[Tensor, "n d a b"]) -> Float[Tensor, "n 1 a b"]:
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)  # (N, 2, A, B)
        return self.sigmoid(self.bn(self.conv(pooled)))  # (N, 1, A, B)


class TripletAttention(nn.Module):
    """Triplet attention: the mean of three gates, one for each pair of dimensions (Section 3.2).

    The paper scales three rotated copies of x, rotates them back and averages. Rotating the small gates back
    instead gives the same sum: x * (cw + ch + hw) / 3.

    Args:
        channels: C of the input (N, C, H, W), 1 or more; no weight depends on it.
        kernel_size: side of each gate's window, odd.

    Shape: (N, C, H, W) -> (N, C, H, W). The gates are returned on the rotated tensors: `cw_gate` (N, 1, C, W),
    `ch_gate` (N, 1, H, C), `hw_gate` (N, 1, H, W).

    Raises:
        ValueError: at construction for a bad argument; in forward for an input that is not (N, channels, H, W).
    """

    def __init__(self, channels: int, *, kernel_size: int = 7) -> None:
        super().__init__()
        check_integer("channels", channels)
        check_kernel_size(kernel_size)
        self.channels = channels
        self.cw_gate = PlaneGate(kernel_size)
        self.ch_gate = PlaneGate(kernel_size)
        self.hw_gate = PlaneGate(kernel_size)
        init_convs(self)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        check_input(x, self.channels, self.training)
        cw = self.cw_gate(x.permute(0, 2, 1, 3)).permute(0, 2, 1, 3)  # (N, H, C, W) -> (N, 1, C, W) -> (N, C, 1, W)
        ch = self.ch_gate(x.permute(0, 3, 2, 1)).permute(0, 3, 2, 1)  # (N, W, H, C) -> (N, 1, H, C) -> (N, C, H, 1)
        hw = self.hw_gate(x)  # (N, 1, H, W)
        return x * ((cw + ch + hw) / 3)
