"""torchvision's initialisation of a ResNet, for the parts that we add to one."""

from torch import nn


def init_backbone(module: nn.Module) -> None:
    """Kaiming (fan out, ReLU) for convolutions; BatchNorm 1 / 0 and Linear keep PyTorch's defaults."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
