"""MobileNetV2: torchvision's, with attention in its inverted residuals.

Sandler, Howard, Zhu, Zhmoginov, Chen: "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.
"""

from itertools import pairwise

from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual, mobilenet_v2

__all__ = ["AttentionAfterInvertedResidual", "AttentionInvertedResidual", "mobilenet_v2", "stage_ends"]


class AttentionInvertedResidual(InvertedResidual):
    """Attention behind the projection's BatchNorm, before the residual add where there is one."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.attention(self.conv(x))
        return x + out if self.use_res_connect else out


class AttentionAfterInvertedResidual(InvertedResidual):
    """Attention behind the whole block: the place of a module that belongs to a stage's end (BAM)."""

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(super().forward(x))


def stage_ends(model: nn.Module) -> list[InvertedResidual]:
    """The last block of each of the seven stages: the one whose successor has another width, or none."""
    kinds = (InvertedResidual, AttentionInvertedResidual, AttentionAfterInvertedResidual)  # and no reader's subclass
    blocks = [module for module in model.modules() if type(module) in kinds]
    return [a for a, b in pairwise(blocks) if a.out_channels != b.out_channels] + blocks[-1:]
