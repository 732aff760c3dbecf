"""Controls: what stands in an attention's place to show what its gates are worth. They are no attention."""

import math

from jaxtyping import Float
from torch import Tensor, fx, nn

from gamlib.attention._checks import check_groups, check_hidden_channels, check_input, check_kernel_size, init_convs
from gamlib.attention.gam import GAMChannelGate, GAMSpatialGate

fx.wrap("check_input")


class AddedGAM(nn.Module):
    """GAM's layers, added where GAM multiplies: y = x + Lc(x), then y + Ls(y), with L the logits of GAM's gates.

    It has GAM's parameters, multiply-accumulates and reach, and no gate: what GAM does better than this control, it
    owes to gating and not to its convolutions.

    Args:
        channels: C of the input (N, C, H, W), 1 or more.
        reduction: r, as in GAM.
        kernel_size: of both spatial convolutions, odd.
        groups: of both spatial convolutions; the shuffle stands between them.

    Shape: (N, C, H, W) -> (N, C, H, W).

    Raises:
        ValueError: at construction for a bad argument; in forward for an input that is not (N, channels, H, W).
    """

    def __init__(self, channels: int, *, reduction: int = 16, kernel_size: int = 7, groups: int = 1) -> None:
        super().__init__()
        hidden = check_hidden_channels(channels, reduction)
        check_kernel_size(kernel_size)
        check_groups(groups, channels, hidden)
        self.channels = channels
        self.channel_logits = GAMChannelGate(channels, hidden)
        self.spatial_logits = GAMSpatialGate(channels, hidden, kernel_size, groups, shuffle="between")
        self.channel_logits.sigmoid = self.spatial_logits.sigmoid = nn.Identity()
        init_convs(self)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        check_input(x, self.channels)
        x = x + self.channel_logits(x)
        return x + self.spatial_logits(x)


class Scaled(nn.Module):
    """A constant in the place of gates: x * factor.

    Two gates that start near one half make a residual branch about four times as small, which by itself changes how
    a network trains. This control does that to a plain network, and nothing else.

    Args:
        channels: not used; every mechanism is built from it.
        factor: a finite number, not 0.

    Shape: (N, C, H, W) -> (N, C, H, W).

    Raises:
        ValueError: for another factor.
    """

    def __init__(self, channels: int, *, factor: float = 0.25) -> None:
        super().__init__()
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not math.isfinite(factor) or factor == 0:
            raise ValueError(f"factor must be a finite number, not 0, got {factor!r}")
        self.factor = factor

    def extra_repr(self) -> str:
        """Factor: a run's identity holds what its network prints."""
        return f"factor={self.factor}"

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        return x * self.factor
