"""The classics with one thing changed: the design questions of notebooks 02 to 04, trained in the plan of runs."""

import torch
from torch import Tensor, nn

from gamlib.attention import BAM, CBAM, SE, register_attention
from gamlib.attention._checks import init_convs
from gamlib.attention.bam import BAMGate


class SoftmaxSE(SE):
    """SE whose gates compete: a softmax over the channels, so that they sum to one."""

    def __init__(self, channels: int, *, reduction: int) -> None:
        super().__init__(channels, reduction=reduction)
        self.channel_gate.sigmoid = nn.Softmax(dim=1)


class ScaledSoftmax(nn.Module):
    """A softmax over the channels, times their number: gates that compete, and are one on average."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits.softmax(1) * logits.shape[1]


class ScaledSoftmaxSE(SE):
    """SE whose gates compete, without shrinking the map."""

    def __init__(self, channels: int, *, reduction: int) -> None:
        super().__init__(channels, reduction=reduction)
        self.channel_gate.sigmoid = ScaledSoftmax()


class MaxSE(SE):
    """SE that is told each channel's largest value, and not its mean."""

    def __init__(self, channels: int, *, reduction: int) -> None:
        super().__init__(channels, reduction=reduction)
        self.channel_gate.squeeze = nn.AdaptiveMaxPool2d(1)


class MeanAndMax(nn.Module):
    """Each channel's mean and largest value side by side: (N, C, H, W) -> (N, 2 C, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)], dim=1)


class BothSE(SE):
    """SE that is told both, side by side, by a first layer that is twice as wide."""

    def __init__(self, channels: int, *, reduction: int) -> None:
        super().__init__(channels, reduction=reduction)
        self.channel_gate.squeeze = MeanAndMax()
        self.channel_gate.fc1 = nn.Linear(2 * channels, channels // reduction, bias=False)


class ECA(nn.Module):
    """Efficient channel attention (Wang and others, CVPR 2020): a 1-D convolution over the row of channel means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3))[:, None]  # (N, 1, C)
        return x * self.gate(self.conv(means))[:, 0, :, None, None]


class AddedBAMGate(BAMGate):
    """sigmoid(Mc + Ms), as equation 2 of BAM's paper has it."""

    def forward(self, x: Tensor) -> Tensor:
        return self.sigmoid(self.channel_branch(x) + self.spatial_branch(x))


class AddedBAM(BAM):
    """BAM that joins its branches as its paper says, and not as its code does."""

    def __init__(self, channels: int, *, reduction: int) -> None:
        super().__init__(channels, reduction=reduction)
        self.gate.__class__ = AddedBAMGate  # the same layers, with the same first weights


class UndilatedBAM(BAM):
    """BAM whose 3 x 3 convolutions look at their neighbours: a window of 5 x 5, without holes, for the same weights."""

    def __init__(self, channels: int, *, reduction: int) -> None:
        super().__init__(channels, reduction=reduction)
        for layer in self.gate.spatial_branch.layers:
            if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
                layer.dilation = layer.padding = (1, 1)


class Mean(nn.Module):
    """Means over `dim`, which stays as 1."""

    def __init__(self, dim: int | tuple[int, int]) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.dim, keepdim=True)


class Largest(Mean):
    """Largest values over `dim`, which stays as 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x.amax(self.dim, keepdim=True)


class OnePoolCBAM(CBAM):
    """CBAM whose gates are told one number where they were told two."""

    pool: type[Mean]

    def __init__(self, channels: int, *, reduction: int) -> None:
        super().__init__(channels, reduction=reduction)
        mlp, spatial = self.channel_gate.mlp, self.spatial_gate
        conv = nn.Conv2d(1, 1, 7, padding=3, bias=False)
        self.channel_gate = nn.Sequential(
            self.pool((2, 3)), nn.Flatten(), mlp, nn.Sigmoid(), nn.Unflatten(1, (-1, 1, 1))
        )
        self.spatial_gate = nn.Sequential(self.pool(1), conv, spatial.bn, spatial.sigmoid)
        init_convs(self.spatial_gate)


class MeanCBAM(OnePoolCBAM):
    """CBAM whose gates are told the means alone."""

    pool = Mean


class MaxCBAM(OnePoolCBAM):
    """CBAM whose gates are told the largest values alone."""

    pool = Largest


class WhereFirstCBAM(CBAM):
    """CBAM with its gates in the other order."""

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.spatial_gate(x)
        return x * self.channel_gate(x)


class ParallelCBAM(CBAM):
    """CBAM whose gates both look at the module's input."""

    def forward(self, x: Tensor) -> Tensor:
        return x * self.channel_gate(x) * self.spatial_gate(x)


VARIANTS = {
    "se_softmax": SoftmaxSE,
    "se_softmax_scaled": ScaledSoftmaxSE,
    "se_max": MaxSE,
    "se_both": BothSE,
    "eca": ECA,
    "bam_added": AddedBAM,
    "bam_undilated": UndilatedBAM,
    "cbam_mean": MeanCBAM,
    "cbam_max": MaxCBAM,
    "cbam_where_first": WhereFirstCBAM,
    "cbam_parallel": ParallelCBAM,
}


def register() -> None:
    """Make them known by name, in this process."""
    for name, cls in VARIANTS.items():
        register_attention(name, cls)
