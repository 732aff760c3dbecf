"""Squeeze-and-Excitation (Hu, Shen, Sun: "Squeeze-and-Excitation Networks", CVPR 2018)."""

from jaxtyping import Float
from torch import Tensor, fx, nn

from gamlib.attention._checks import check_hidden_channels, check_input

fx.wrap("check_input")


class SEGate(nn.Module):
    """s = sigmoid(W2 relu(W1 z)), z the mean of each channel: one number a channel (equations 2 and 3)."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = check_hidden_channels(channels, reduction)
        self.squeeze = nn.AdaptiveAvgPool2d(1)
        # The paper leaves the biases out ("to simplify notation"); the counts in the GAM paper need them out. The
        # authors' own Caffe models, torchvision's and timm's SE have them.
        self.fc1 = nn.Linear(channels, hidden, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Linear(hidden, channels, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c 1 1"]:
        z = self.squeeze(x).flatten(1)  # (N, C)
        s = self.fc2(self.relu(self.fc1(z)))
        return self.sigmoid(s).unsqueeze(2).unsqueeze(3)  # (N, C, 1, 1)


class SE(nn.Module):
    """Squeeze-and-Excitation: each channel scaled by a gate that knows every channel's mean (equation 4).

    Args:
        channels: C of the input (N, C, H, W), 1 or more.
        reduction: r; the hidden layer has C // r units, which must leave at least one.

    Shape: (N, C, H, W) -> (N, C, H, W); the gate is (N, C, 1, 1), so it is blind to place.

    Raises:
        ValueError: at construction for a bad argument; in forward for an input that is not (N, channels, H, W).
    """

    def __init__(self, channels: int, *, reduction: int = 16) -> None:
        super().__init__()
        self.channels = channels
        self.channel_gate = SEGate(channels, reduction)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        check_input(x, self.channels)
        return x * self.channel_gate(x)
