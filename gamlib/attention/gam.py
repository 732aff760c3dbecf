"""Global Attention Mechanism (Liu, Shao, Hoffmann: "Global Attention Mechanism", 2021, arXiv:2112.05561)."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.nn import functional

from gamlib._checks import check_boolean, unknown_name
from gamlib.attention._checks import check_groups, check_hidden_channels, check_input, check_kernel_size, init_convs

fx.wrap("check_input")


def channel_shuffle(x: Float[Tensor, "n c h w"], groups: int) -> Float[Tensor, "n c h w"]:
    """Channels dealt out: the first of each group, then the second of each."""
    if torch.onnx.is_in_onnx_export():  # the older exporter lacks PyTorch's own
        return x.unflatten(1, (groups, -1)).transpose(1, 2).flatten(1, 2)
    return functional.channel_shuffle(x, groups)


class GAMChannelGate(nn.Module):
    """Mc: the same two-layer MLP over the channels of every pixel, nothing pooled (Figure 2)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels))
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        x = x.permute(0, 2, 3, 1)  # (N, H, W, C): the "3-D permutation"; Linear works on the last dimension
        x = self.mlp(x)
        x = x.permute(0, 3, 1, 2)  # (N, C, H, W)
        return self.sigmoid(x)


class GAMSpatialGate(nn.Module):
    """Ms: two 7x7 convolutions through C // r channels, nothing pooled: a window of 13 x 13 (Figure 3).

    The code that circulates puts biases on both convolutions and a BatchNorm after the second; the parameter
    counts of the paper have no room for that BatchNorm, nor for a bias on the second convolution. They leave open
    whether the first has a bias, a BatchNorm, or both (notebook 08): a bias before a BatchNorm does nothing. Copies
    of that code differ among themselves: most have no sigmoid on the channel gate, some do; some have groups and
    shuffle after both convolutions, at least one between them; one pads by replicating the border.
    """

    def __init__(self, channels: int, hidden: int, kernel_size: int, groups: int, shuffle: str | None) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.groups = groups
        self.shuffle = shuffle
        self.conv1 = nn.Conv2d(channels, hidden, kernel_size, padding=padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(hidden)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(hidden, channels, kernel_size, padding=padding, groups=groups, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        x = self.relu(self.bn(self.conv1(x)))  # (N, C // r, H, W)
        if self.groups > 1 and self.shuffle == "between":
            x = channel_shuffle(x, self.groups)
        x = self.conv2(x)  # (N, C, H, W)
        if self.groups > 1 and self.shuffle == "after":
            x = channel_shuffle(x, self.groups)
        return self.sigmoid(x)


class GAM(nn.Module):
    """Global Attention Mechanism: x * Mc(x), then times Ms of that (equations 1 and 2).

    Args:
        channels: C of the input (N, C, H, W), 1 or more.
        reduction: r; both gates have C // r hidden channels, which must leave at least one.
        kernel_size: side of both spatial convolutions, odd.
        groups: groups of both spatial convolutions (the paper's "gc" has 4); must divide C and C // r. The MLP stays
            dense.
        shuffle: where the channels are shuffled when groups > 1: "between" the two convolutions, "after" them (what
            the circulating code does, which leaves most gates blind to the channel that they scale), or None. The
            paper names a shuffle, not its place.
        channel: whether the channel gate is there; without it, the paper's "sp".
        spatial: whether the spatial gate is there; without it, the paper's "ch".

    Shape: (N, C, H, W) -> (N, C, H, W); both gates are (N, C, H, W).

    Raises:
        TypeError: for GAM(in_channels, out_channels), as the code that circulates has it.
        ValueError: at construction for a bad argument; in forward for an input that is not (N, channels, H, W), and in
            training for one value per channel.
    """

    def __init__(
        self,
        channels: int,
        *more: object,
        reduction: int = 16,
        kernel_size: int = 7,
        groups: int = 1,
        shuffle: Literal["between", "after"] | None = "between",
        channel: bool = True,
        spatial: bool = True,
    ) -> None:
        if more:
            raise TypeError(
                f"GAM has as many channels behind it as before it, so write GAM({channels!r}), with other arguments by "
                f"name, such as reduction=4; got {', '.join(map(repr, more))} beside the channels"
            )
        super().__init__()
        hidden = check_hidden_channels(channels, reduction)
        check_kernel_size(kernel_size)
        check_groups(groups, channels, hidden)
        if shuffle not in ("between", "after", None):
            raise unknown_name("shuffle", shuffle, ["between", "after", "None"])
        check_boolean("channel", channel)
        check_boolean("spatial", spatial)
        if not spatial and (kernel_size, groups) != (7, 1):
            raise ValueError(f"kernel_size={kernel_size} and groups={groups} have no effect with spatial=False")
        if not (channel or spatial):
            raise ValueError("channel=False and spatial=False leave no gate; allowed: at least one of them True")
        self.channels = channels
        self.channel_gate = GAMChannelGate(channels, hidden) if channel else None
        self.spatial_gate = GAMSpatialGate(channels, hidden, kernel_size, groups, shuffle) if spatial else None
        init_convs(self)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        check_input(x, self.channels, self.training and self.spatial_gate is not None)
        if self.channel_gate is not None:
            x = x * self.channel_gate(x)
        if self.spatial_gate is not None:
            x = x * self.spatial_gate(x)
        return x
