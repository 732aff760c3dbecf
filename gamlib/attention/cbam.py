"""Convolutional Block Attention Module (Woo, Park, Lee, Kweon: "CBAM", ECCV 2018)."""

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from gamlib.attention._checks import check_hidden_channels, check_input, check_kernel_size, init_convs

fx.wrap("check_input")


class CBAMChannelGate(nn.Module):
    """Mc = sigmoid(MLP(mean) + MLP(max)), one MLP for both: one number a channel (equation 2)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = check_hidden_channels(channels, reduction)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels))
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c 1 1"]:
        mean = x.mean((2, 3))  # (N, C)
        peak = x.amax((2, 3))  # (N, C)
        return self.sigmoid(self.mlp(mean) + self.mlp(peak)).unsqueeze(2).unsqueeze(3)  # (N, C, 1, 1)


class CBAMSpatialGate(nn.Module):
    """Ms = sigmoid(conv7x7([max; mean] over channels)): one number a pixel (equation 3).

    The equation writes [mean; max]; the official code stacks [max, mean], as here (timm's CBAM stacks [mean, max], and
    its MLP has no biases). It also has a BatchNorm after the convolution that the paper does not mention. Where several
    channels share the maximum, its gradient is shared among them here; the official code's max gives it to one.
    """

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        check_kernel_size(kernel_size)
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(1, momentum=0.01)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 h w"]:
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], dim=1)  # (N, 2, H, W)
        return self.sigmoid(self.bn(self.conv(pooled)))  # (N, 1, H, W)


class CBAM(nn.Module):
    """Convolutional Block Attention Module: first channels, then positions (equation 1).

    Args:
        channels: C of the input (N, C, H, W), 1 or more.
        reduction: r; the channel gate's hidden layer has C // r units, which must leave at least one.
        kernel_size: side of the spatial gate's window, odd.

    Shape: (N, C, H, W) -> (N, C, H, W); the gates are (N, C, 1, 1) and (N, 1, H, W).

    Raises:
        ValueError: at construction for a bad argument; in forward for an input that is not (N, channels, H, W).
    """

    def __init__(self, channels: int, *, reduction: int = 16, kernel_size: int = 7) -> None:
        super().__init__()
        self.channels = channels
        self.channel_gate = CBAMChannelGate(channels, reduction)
        self.spatial_gate = CBAMSpatialGate(kernel_size)
        init_convs(self)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        check_input(x, self.channels, self.training)
        x = x * self.channel_gate(x)
        return x * self.spatial_gate(x)
