"""ResNets: torchvision's own, their stems, and two small ones of the same blocks.

He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", CVPR 2016.
"""

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet, conv1x1, resnet18, resnet50

from gamlib.attention._checks import init_convs

__all__ = [
    "SmallResNet",
    "last_norm",
    "make_stage",
    "probe",
    "resnet18",
    "resnet20",
    "resnet50",
    "set_stem",
    "set_width",
    "stages",
]


def set_width(model: ResNet, width: int) -> None:
    """Give a torchvision ResNet `width` channels in its first stage (its own: 64) in place; the later ones follow."""
    block, in_channels = type(model.layer1[0]), width
    model.conv1 = nn.Conv2d(3, width, kernel_size=7, stride=2, padding=3, bias=False)
    model.bn1 = nn.BatchNorm2d(width)
    for i, stage in enumerate(stages(model)):
        wider = make_stage(block, in_channels, width * 2**i, len(stage), stride=1 if i == 0 else 2)
        setattr(model, f"layer{i + 1}", wider)
        in_channels = width * 2**i * block.expansion
    model.fc = nn.Linear(in_channels, model.fc.out_features)
    init_convs(model)


def set_stem(model: ResNet, stem: str) -> None:
    """Change the stem of a torchvision ResNet in place.

    "imagenet": as it is: 7x7 stride 2, max-pool stride 2.
    "cifar": 3x3 stride 1, no max-pool; the paper's Table 1.
    "wmp": "without max-pooling", Table 4: the max-pool goes and the first block of stage 1 takes over its stride.
    """
    if stem == "imagenet":
        return
    model.maxpool = nn.Identity()
    if stem == "cifar":
        model.conv1 = nn.Conv2d(3, model.conv1.out_channels, kernel_size=3, stride=1, padding=1, bias=False)
        init_convs(model.conv1)
    if stem == "wmp":
        block = model.layer1[0]
        block.stride = 2
        first_strided = block.conv1 if isinstance(block, BasicBlock) else block.conv2
        first_strided.stride = (2, 2)
        # A block that halves the map needs a shortcut that does, too.
        channels = last_norm(block).num_features
        block.downsample = nn.Sequential(
            conv1x1(model.conv1.out_channels, channels, stride=2), nn.BatchNorm2d(channels)
        )
        init_convs(block.downsample)


def make_stage(block: type[nn.Module], in_channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    """One stage of `blocks` residual blocks; the first one changes width and stride, and so has a 1x1 shortcut."""
    out_channels = width * block.expansion
    shortcut = None
    if stride != 1 or in_channels != out_channels:
        shortcut = nn.Sequential(conv1x1(in_channels, out_channels, stride), nn.BatchNorm2d(out_channels))
    layers = [block(in_channels, width, stride, shortcut)]
    layers += [block(out_channels, width) for _ in range(blocks - 1)]
    return nn.Sequential(*layers)


class SmallResNet(nn.Module):
    """A ResNet for 32 x 32 images from torchvision's BasicBlock, with one stage for each of `widths`.

    Shape: (N, 3, H, W) -> (N, num_classes).
    """

    def __init__(self, widths: tuple[int, ...], blocks: int, stem_stride: int, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], kernel_size=3, stride=stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.relu = nn.ReLU(inplace=True)
        in_channels = widths[0]
        for i, width in enumerate(widths, start=1):
            self.add_module(f"layer{i}", make_stage(BasicBlock, in_channels, width, blocks, stride=1 if i == 1 else 2))
            in_channels = width
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(in_channels, num_classes)
        init_convs(self)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        for stage in stages(self):
            x = stage(x)
        return self.fc(self.avgpool(x).flatten(1))


def resnet20(num_classes: int, width: int = 16) -> SmallResNet:
    """ResNet-20: three stages of three basic blocks, 16-32-64 channels (the paper's section 4.2, 1x1 shortcuts)."""
    return SmallResNet(widths=(width, 2 * width, 4 * width), blocks=3, stem_stride=1, num_classes=num_classes)


def probe(num_classes: int, width: int = 32) -> SmallResNet:
    """The network for the puzzles: two basic blocks at 16 x 16, 32 channels; each feature sees 19 x 19 pixels."""
    return SmallResNet(widths=(width,), blocks=2, stem_stride=2, num_classes=num_classes)


def stages(model: nn.Module) -> list[nn.Sequential]:
    """The stages `layer1`, `layer2`, ... of a ResNet, torchvision's, timm's or ours."""
    return [child for name, child in model.named_children() if name.startswith("layer") and name[5:].isdigit()]


def last_norm(block: nn.Module) -> nn.BatchNorm2d:
    """The last BatchNorm of a residual block's main path; its width is the block's."""
    return block.bn3 if hasattr(block, "bn3") else block.bn2


class AttentionBasicBlock(BasicBlock):
    """torchvision's BasicBlock with attention behind the last BatchNorm, before the residual add."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out = self.attention(out)
        identity = x if self.downsample is None else self.downsample(x)
        return self.relu(out + identity)


class AttentionBottleneck(Bottleneck):
    """torchvision's Bottleneck with attention behind the last BatchNorm, before the residual add."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out = self.attention(out)
        identity = x if self.downsample is None else self.downsample(x)
        return self.relu(out + identity)
