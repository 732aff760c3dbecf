"""Attention Branch Network (Fukui, Hirakawa, Yamashita, Fujiyoshi, CVPR 2019) around a ResNet."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gamlib.attention._checks import init_convs
from gamlib.models.resnet import last_norm, make_stage, stages


class AttentionBranch(nn.Module):
    """A copy of the last stage at stride 1, then class maps a: (N, C, H, W) -> (N, K, H, W), K classes."""

    def __init__(self, last_stage: nn.Sequential, in_channels: int, num_classes: int) -> None:
        super().__init__()
        block = type(last_stage[0])
        width = last_stage[0].conv1.out_channels
        self.stage = make_stage(block, in_channels, width, len(last_stage), stride=1)
        self.bn1 = nn.BatchNorm2d(width * block.expansion)
        self.conv = nn.Conv2d(width * block.expansion, num_classes, kernel_size=1, bias=False)
        self.bn2 = nn.BatchNorm2d(num_classes)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n k h w"]:
        return self.relu(self.bn2(self.conv(self.bn1(self.stage(x)))))


class AttentionMapGate(nn.Module):
    """M = sigmoid(BatchNorm(conv3x3(a))): one number a pixel, (N, 1, H, W)."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(num_classes, 1, kernel_size=3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, a: Float[Tensor, "n k h w"]) -> Float[Tensor, "n 1 h w"]:
        return self.sigmoid(self.bn(self.conv(a)))


class ABN(nn.Module):
    """A ResNet whose last stage sees x * (1 + M), M drawn from a second classifier, the attention branch.

    Args:
        backbone: a ResNet of two stages or more; it is taken over as it is, so its keys gain the prefix `backbone.`.
        num_classes: K, of both classifiers.

    Shape: (N, 3, H, W) -> logits (N, K) in eval; (logits, attention_logits) in training, whose cross-entropies are
    added 1 : 1.

    Source: the official code; the parameter counts agree with it. No convolution of the branch has a bias.
    """

    def __init__(self, backbone: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        *_, before_last, last = stages(backbone)
        in_channels = last_norm(before_last[-1]).num_features
        self.branch = AttentionBranch(last, in_channels, num_classes)
        self.attention_head = nn.Conv2d(num_classes, num_classes, kernel_size=1, bias=False)
        self.attention_gate = AttentionMapGate(num_classes)
        for part in (self.branch, self.attention_head, self.attention_gate):
            init_convs(part)

    def forward(self, x: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n k"] | tuple[Tensor, Tensor]:
        net = self.backbone
        *early, last = stages(net)
        x = net.relu(net.bn1(net.conv1(x)))
        x = net.maxpool(x) if hasattr(net, "maxpool") else x
        for stage in early:
            x = stage(x)
        a = self.branch(x)  # (N, K, H, W)
        # Computed in eval, too: the paper's FLOPs hold it, and in training both outputs are needed.
        attention_logits = self.attention_head(a).mean((2, 3))  # (N, K)
        x = x * (1 + self.attention_gate(a))
        logits = net.fc(torch.flatten(net.avgpool(last(x)), 1))  # (N, K)
        return (logits, attention_logits) if self.training else logits
