"""Bottleneck Attention Module (Park, Woo, Lee, Kweon: "BAM: Bottleneck Attention Module", BMVC 2018)."""

from jaxtyping import Float
from torch import Tensor, fx, nn

from gamlib.attention._checks import check_hidden_channels, check_input, init_convs

fx.wrap("check_input")
fx.wrap("check_batch")


def check_batch(x: Tensor) -> None:
    """Raise ValueError for one image alone."""
    if x.shape[0] < 2:
        raise ValueError(
            "BAM needs a batch of 2 or more in training (its channel branch normalises over the batch), got 1; "
            "use a larger batch, drop the last incomplete one, or call .eval()"
        )


class ChannelBranch(nn.Module):
    """Mc: mean of each channel -> Linear -> BatchNorm -> ReLU -> Linear. Logits, (N, C, 1, 1).

    The mean is of the whole map. The official code pools with a square window as high as the map, so where a map is
    wider than high it averages the first columns alone.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.bn = nn.BatchNorm1d(hidden)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c 1 1"]:
        z = x.mean((2, 3))  # (N, C)
        z = self.fc2(self.relu(self.bn(self.fc1(z))))
        return z.unsqueeze(2).unsqueeze(3)  # (N, C, 1, 1)


class SpatialBranch(nn.Module):
    """Ms: 1x1 -> two dilated 3x3 -> 1x1, BatchNorm and ReLU between. Logits, (N, 1, H, W), a window of 17 x 17."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden, kernel_size=1),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, kernel_size=3, padding=4, dilation=4),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, hidden, kernel_size=3, padding=4, dilation=4),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, 1, kernel_size=1),
        )

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n 1 h w"]:
        return self.layers(x)


class BAMGate(nn.Module):
    """sigmoid(Mc * Ms): both branches side by side, one gate for every channel and pixel.

    The paper's equation 2 adds the branches. The official code multiplies them, and so do we.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = check_hidden_channels(channels, reduction)
        self.channel_branch = ChannelBranch(channels, hidden)
        self.spatial_branch = SpatialBranch(channels, hidden)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return self.sigmoid(self.channel_branch(x) * self.spatial_branch(x))  # (N, C, 1, 1) * (N, 1, H, W)


class BAM(nn.Module):
    """Bottleneck Attention Module: x * (1 + gate), with channel and position judged in parallel (equations 1 and 2).

    Made to stand at the end of a stage, where a network narrows, not in every block.

    Args:
        channels: C of the input (N, C, H, W), 1 or more.
        reduction: r; both branches have C // r hidden channels, which must leave at least one.

    Shape: (N, C, H, W) -> (N, C, H, W). In training N must be 2 or more: the channel branch normalises over the batch.

    Raises:
        ValueError: at construction for a bad argument; in forward for an input that is not (N, channels, H, W),
            or for N = 1 in training.
    """

    place = "stage"  # where create_model puts it, and all that derive from it

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        self.channels = channels
        self.gate = BAMGate(channels, reduction)
        init_convs(self)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        check_input(x, self.channels)
        if self.training:
            check_batch(x)
        return x * (1 + self.gate(x))
